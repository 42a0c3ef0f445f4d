"""Starting TF Serving: the command is right where a program is installed, and told where none is."""

import pytest

from covidcx.cli import main
from covidcx.deploy.serve import command
from covidcx.deploy.serving_config import Batching, write_serving_files
from covidcx.errors import ServingError


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    (folder / "covid-cxnet" / "2").mkdir(parents=True)
    (folder / "covid-cxnet" / "2" / "saved_model.pb").touch()
    (folder / "covid-cxnet" / ".3.part").mkdir()
    (folder / "unfinished").mkdir()
    return folder


def test_the_binary_is_preferred_and_told_where_the_models_are(models):
    made = command(models, 9001, 9000, find=lambda name: f"/usr/bin/{name}")
    assert made.by == "binary" and made.words[0] == "/usr/bin/tensorflow_model_server"
    assert "--rest_api_port=9001" in made.words and "--port=9000" in made.words
    text = (models / "models.config").read_text()
    assert f'base_path: "{models}/covid-cxnet"' in text and "unfinished" not in text


def test_docker_mounts_the_folder_read_only_and_on_this_machine_alone(models):
    made = command(models, 9001, find=lambda name: "/usr/bin/docker" if name == "docker" else None)
    assert made.by == "docker"
    line = " ".join(made.words)
    assert f"-v {models}:/models:ro" in line and "-p 127.0.0.1:9001:8501" in line
    assert 'base_path: "/models/covid-cxnet"' in (models / "models.config").read_text()


def test_without_either_it_says_how(models, monkeypatch, capsys):
    with pytest.raises(ServingError, match="docker run --rm"):
        command(models, find=lambda _: None)
    monkeypatch.setenv("PATH", "")
    assert main(["serve", str(models)]) == 2
    error = capsys.readouterr().err
    assert "tensorflow_model_server" in error and error.count("\n") == 1


def test_a_folder_without_models_names_the_export(tmp_path):
    with pytest.raises(ServingError, match="covidcx export"):
        command(tmp_path, find=lambda _: None)


def test_configuration_parses_as_tf_servings_own_messages(models):
    text_format = pytest.importorskip("google.protobuf.text_format")
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2", reason="needs the extra serve")
    write_serving_files(models, Batching(max_batch_size=4))
    parsed = text_format.Parse((models / "models.config").read_text(), config.ModelServerConfig())
    assert [entry.name for entry in parsed.model_config_list.config] == ["covid-cxnet"]
    assert "max_batch_size { value: 4 }" in (models / "batching.config").read_text()


def test_compose_and_kubernetes_files_are_yaml_with_the_same_arguments(models):
    yaml = pytest.importorskip("yaml")
    write_serving_files(models)
    compose = yaml.safe_load((models / "docker-compose.yml").read_text())["services"]["covidcx"]
    deployment, service = yaml.safe_load_all((models / "kubernetes.yaml").read_text())
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert compose["command"] == container["args"] and compose["image"] == container["image"]
    assert all(port.startswith("127.0.0.1:") for port in compose["ports"])
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/models/covid-cxnet"
