"""The two decisions of hierarchical COVID-CXNet (section 5.3), in order."""

STAGES = ("pneumonia", "covid")
"""What each stage's single output means, given the one before."""
