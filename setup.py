"""What the wheel holds: lab with the files beside its code, and presets/ as lab/presets. Everything else stands in pyproject.toml.

presets/ stays on the top level, where people find and edit it; an editable install reads it there. presets/data is a package of its own
(delta-lab-data): its texts are under licences of theirs.
"""

from setuptools import find_packages, setup

KINDS = ("architectures", "boards", "methods", "models", "papers", "searches", "sweeps", "tasks")

setup(
    packages=[*find_packages(include=["lab", "lab.*"]), "lab.presets"],
    package_dir={"lab.presets": "presets"},
    package_data={"lab": ["**/*.yaml", "**/*.css", "**/*.js"], "lab.presets": [f"{kind}/*.yaml" for kind in KINDS]},
)
