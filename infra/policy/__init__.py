"""Rules that every stack must keep, as code: read over what the program declares by the tests, and by the engine on
each preview.

    pulumi preview --stack prod --policy-pack infra/policy

A rule is a public function `rule(resources: list[Resource]) -> list[str]` in a file `*_rules.py` beside this one: it
gives one message for each problem, naming the resource and the way out. Its docstring's first paragraph is what the
engine shows. Nothing is listed anywhere: `registry.py` finds it.
"""
