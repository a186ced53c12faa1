import json
from dataclasses import replace

import pytest

from app.contract.job import JobSpec, SpecError

#: As the first version of the program wrote it; must be readable for ever.
FIRST = (
    '{"version": 1, "model": "tiny", "prompt": "a red ball", "width": 64, "height": 64, '
    '"frames": 9, "fps": 8, "steps": 4, "guidance": 5.0, "seed": 1}'
)


def test_a_spec_of_the_first_version_is_still_read(spec):
    assert spec == JobSpec.from_json(FIRST)


def test_a_spec_survives_its_json(spec):
    full = replace(spec, prompt="ein Bär 🐻", image="inputs/x/image.png", guidance_2=3.0)
    assert full == JobSpec.from_json(full.to_json())


def test_a_spec_says_what_is_used_alone_as_older_workers_may_not_know_the_rest(spec):
    assert json.loads(FIRST) == json.loads(spec.to_json())


@pytest.mark.parametrize(("change", "said"), [({"version": 2}, "version 2"), ({"x": 1}, "x")])
def test_a_spec_that_cannot_be_understood_is_refused(change, said):
    with pytest.raises(SpecError, match=said):
        JobSpec.from_json(json.dumps(json.loads(FIRST) | change))


def test_the_length_in_seconds_is_that_of_the_frames(spec):
    assert spec.seconds == 9 / 8
