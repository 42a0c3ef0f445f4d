"""The commands of the command line, a module per part of the walk; each imports what it needs when it runs."""
