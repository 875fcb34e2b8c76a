"""Official validators, which the product does not need: reads `{"schema": …, "draft": 7 or 2020, "instances": […]}` or `{"openapi": …}` as JSON from
standard input, and prints one list of complaints per instance."""

import json
import sys

import jsonschema_rs
from schemathesis.specs.openapi.definitions import OPENAPI_31

asked = json.load(sys.stdin)
if "openapi" in asked:
    validator, instances = jsonschema_rs.Draft202012Validator(OPENAPI_31), [asked["openapi"]]
else:
    make = {7: jsonschema_rs.Draft7Validator, 2020: jsonschema_rs.Draft202012Validator}[asked["draft"]]
    validator, instances = make(asked["schema"], validate_formats=False), asked["instances"]
print(json.dumps([[f"{list(fault.instance_path)}: {fault.message[:200]}" for fault in validator.iter_errors(instance)] for instance in instances]))
