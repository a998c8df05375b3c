"""deploy/kubernetes/extras: valid, and about the objects of `plain`."""

import copy

import pytest
import yaml

from harness import kustomize, schema
from harness.podman import PROJECT

EXTRAS = PROJECT / "deploy/kubernetes/extras"
METRIC = "sse_sidecar_streams_active"


def load(name: str) -> dict:
    return yaml.safe_load((EXTRAS / f"{name}.yaml").read_text())


@pytest.fixture
def plain() -> list[dict]:
    return kustomize.shipped("plain")


ALL = {path.stem for path in EXTRAS.iterdir()}
CUSTOM = {"pod-monitor"}
# Not an object, but values of a chart.
VALUES = {"prometheus-adapter"}


@pytest.mark.parametrize("name", sorted(ALL - CUSTOM - VALUES))
def test_each_is_valid(name):
    schema.validate(load(name))


@pytest.mark.parametrize("name", sorted(CUSTOM))
def test_each_custom_resource_is_valid(name):
    schema.validate_custom(load(name))


@pytest.mark.parametrize("mistake", ["prt", "interval"])
def test_a_mistake_in_a_custom_resource_would_be_found(mistake):
    """The control: a key that does not exist, a value that is no duration."""
    described = load("pod-monitor")
    described["spec"]["podMetricsEndpoints"][0][mistake] = "fast"
    with pytest.raises(AssertionError, match=mistake):
        schema.validate_custom(described)


@pytest.mark.parametrize("name", sorted(ALL - VALUES))
def test_each_has_the_recommended_label(name):
    assert load(name)["metadata"]["labels"] == {"app.kubernetes.io/name": "app"}


@pytest.mark.parametrize(
    "name", ["network-policy", "pod-disruption-budget", "pod-monitor"]
)
def test_each_selects_the_pods(name, plain):
    spec = load(name)["spec"]
    selector = spec.get("selector") or spec["podSelector"]
    labels = kustomize.template(plain)["metadata"]["labels"]
    assert selector["matchLabels"].items() <= labels.items()


def test_the_network_policy_opens_the_sidecars_ports(plain):
    clients, metrics = load("network-policy")["spec"]["ingress"]
    ports = kustomize.sidecar(kustomize.pod_spec(plain))["ports"]
    opened = [rule["ports"][0]["port"] for rule in (clients, metrics)]
    assert opened == [port["containerPort"] for port in ports]
    assert "from" not in clients and metrics["from"]


def test_prometheus_finds_the_admin_port(plain):
    [endpoint] = load("pod-monitor")["spec"]["podMetricsEndpoints"]
    for spec in (
        kustomize.pod_spec(plain),
        kustomize.pod_spec(kustomize.shipped("example")),
    ):
        ports = {port["name"]: port for port in kustomize.sidecar(spec)["ports"]}
        assert ports[endpoint["port"]]["containerPort"] == 9901
    # The job that the alerts are about.
    [relabeling] = endpoint["relabelings"]
    assert relabeling["targetLabel"] == "job"
    alerts = (PROJECT / "deploy/prometheus/alerts.yml").read_text()
    assert f'job="{relabeling["replacement"]}"' in alerts


def test_the_autoscaler_scales_what_is_there_by_a_metric_that_is_served(plain):
    spec = load("horizontal-pod-autoscaler")["spec"]
    deployment = kustomize.only(plain, "Deployment")
    target = spec["scaleTargetRef"]
    assert target["apiVersion"] == deployment["apiVersion"]
    assert target["name"] == deployment["metadata"]["name"]
    [metric] = spec["metrics"]
    assert metric["pods"]["metric"]["name"] == METRIC  # test_pod.py sees it served
    [rule] = load("prometheus-adapter")["rules"]["custom"]
    assert rule["seriesQuery"].startswith(f"{METRIC}{{")
    assert rule["name"]["matches"] == f"^{METRIC}$"


def test_the_ingress_leads_to_the_service(plain):
    service = kustomize.only(plain, "Service")
    [rule] = load("ingress")["spec"]["rules"]
    [path] = rule["http"]["paths"]
    backend = path["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["number"] == service["spec"]["ports"][0]["port"]
    text = (EXTRAS / "ingress.yaml").read_text()
    assert "server.trusted_proxies" in text


def test_ports_are_referred_to_by_number_but_where_the_kind_takes_names_only():
    for name in sorted(ALL - CUSTOM - VALUES):
        for key, port in schema.numbers(copy.deepcopy(load(name))):
            assert isinstance(port, int), (name, key, port)
