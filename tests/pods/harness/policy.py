"""Admission policies, evaluated by a real CEL.

Their mutations build values of types such as `Object.spec.containers`, which only an API server knows: there is none to be had from a
package registry. So here they become maps that carry the type's name, which is then held against the place where the value is. What
this cannot see is the API server's own type check of the whole expression; the values pass the Pod's schema instead.
"""

import json
import re

from cel_expr_python import cel

from harness.tools import KUBECTL, Refused, run

TOKEN = re.compile(
    r"""\s+|'[^']*'|"[^"]*"|(?:Object(?:\.\w+)*|JSONPatch)\{|\w+|.""", re.S
)
TYPE = "@type"


def as_maps(expression: str) -> str:
    """`Object.spec{a: 1}` as `{"@type": "Object.spec", "a": 1}`."""
    written, open_, last = [], [], ""
    for token in TOKEN.findall(expression):
        if token.isspace():
            written.append(token)
            continue
        if token.endswith("{") and len(token) > 1:
            open_.append("type")
            written.append(f'{{"{TYPE}": "{token[:-1]}", ')
        elif (
            open_ and open_[-1] == "type" and last[-1] in "{," and token.isidentifier()
        ):
            written.append(f'"{token}"')
        else:
            if token in "([{":
                open_.append(token)
            elif token in ")]}":
                open_.pop()
            written.append(token)
        last = token
    return "".join(written)


def plain(value: object, place: str) -> object:
    """Without the types, which have to be those of the place."""
    if isinstance(value, list):
        return [plain(each, place) for each in value]
    if not isinstance(value, dict):
        return value
    assert value.get(TYPE, place) == place, f"{value[TYPE]} at {place}"
    return {
        key: plain(each, f"{place}.{key}") for key, each in value.items() if key != TYPE
    }


class Policy:
    """A MutatingAdmissionPolicy or a ValidatingAdmissionPolicy."""

    def __init__(self, described: dict) -> None:
        self._spec = described["spec"]
        types = {"object": cel.Type.DYN, "variables": cel.Type.DYN}
        self._env = cel.NewEnv(variables=types)

    def matches(self, pod: dict) -> bool:
        labels = pod["metadata"].get("labels", {})
        selector = self._spec["matchConstraints"]["objectSelector"]
        wanted = selector.get("matchLabels", {}).items() <= labels.items()
        present = all(
            each["operator"] == "Exists" and each["key"] in labels
            for each in selector.get("matchExpressions", [])
        )
        conditions = self._spec.get("matchConditions", [])
        return (
            wanted
            and present
            and all(self._evaluate(each["expression"], pod) for each in conditions)
        )

    def mutate(self, pod: dict) -> dict:
        if not self.matches(pod):
            return pod
        for mutation in self._spec["mutations"]:
            if mutation["patchType"] == "ApplyConfiguration":
                expression = mutation["applyConfiguration"]["expression"]
                patch = plain(self._evaluate(expression, pod), "Object")
                pod = patched(pod, "strategic", patch)
            else:
                expression = mutation["jsonPatch"]["expression"]
                operations = self._evaluate(expression, pod)
                for operation in operations:
                    assert operation.pop(TYPE) == "JSONPatch"
                    path = operation["path"].removesuffix("/-")
                    place = "Object" + path.replace("/", ".")
                    operation["value"] = plain(operation["value"], place)
                pod = patched(pod, "json", operations)
        return pod

    def refusals(self, pod: dict) -> list[str]:
        if not self.matches(pod):
            return []
        return [
            each["message"]
            for each in self._spec["validations"]
            if not self._evaluate(each["expression"], pod)
        ]

    def _evaluate(self, expression: str, pod: dict) -> object:
        data = {"object": pod, "variables": {}}
        for variable in self._spec.get("variables", []):
            if f"variables.{variable['name']}" in expression:
                data["variables"][variable["name"]] = self._run(
                    variable["expression"], data
                )
        return self._run(expression, data)

    def _run(self, expression: str, data: dict) -> object:
        result = self._env.compile(as_maps(expression)).eval(data=data)
        if result.type() == cel.Type.ERROR:
            raise Refused(str(result.value()))
        return json.loads(json.dumps(result.plain_value()))


def patched(pod: dict, kind: str, patch: object) -> dict:
    """As kubectl patches it."""
    command = ["patch", "--local", "--filename=-", f"--type={kind}", "--output=json"]
    return json.loads(
        run(KUBECTL, *command, f"--patch={json.dumps(patch)}", given=json.dumps(pod))
    )
