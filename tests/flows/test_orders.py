"""What an order is refused for before anything runs."""

import pytest

from corpus.errors import InvalidInput
from flows.orders import resolve
from schemas.orders import CorpusOrder


@pytest.mark.parametrize("setting", ["speech.rules.cutoff=-3.0", "speech.rules.undecodable=false"])
def test_a_rule_that_there_is_not_or_that_cannot_be_changed_is_refused(tmp_path, setting):
    order = CorpusOrder(recipe="demo", run_dir=tmp_path / "run", overrides=(setting,))
    with pytest.raises(InvalidInput, match="speech.rules"):
        resolve(order)
    assert not (tmp_path / "run").exists()
