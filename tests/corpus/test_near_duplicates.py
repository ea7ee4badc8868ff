import numpy as np
import pytest

from corpus.near_duplicates import Accepted, Verdict

THRESHOLD = 0.85


def normalised(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(count, seed=0):
    """Vectors in clusters tight enough that some are near-duplicates and many are close calls."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(count // 8, 384))
    noise = draw.normal(size=(count, 384)) * draw.uniform(0.1, 0.8, size=(count, 1))
    return normalised(centres[draw.integers(len(centres), size=count)] + noise)


def one_by_one(ids, vectors, threshold=THRESHOLD):
    """The plain method, in float64."""
    accepted, verdicts = [], []
    wide = vectors.astype(np.float64)
    for index, name in enumerate(ids):
        if accepted:
            similarity = wide[accepted] @ wide[index]
            nearest = int(np.argmax(similarity))
            top = float(similarity[nearest])
            verdicts.append(Verdict(name, top <= threshold, ids[accepted[nearest]], round(top, 6)))
        else:
            verdicts.append(Verdict(name, True, None, None))
        if verdicts[-1].accepted:
            accepted.append(index)
    return verdicts


@pytest.fixture(scope="module")
def sample():
    vectors = clustered(2000)
    ids = [f"v{index}" for index in range(len(vectors))]
    expected = one_by_one(ids, vectors)
    assert 200 < sum(not verdict.accepted for verdict in expected) < 1800
    return ids, vectors, expected


@pytest.mark.parametrize("block", [1, 7, 256, 5000])
def test_blocks_decide_as_one_by_one_does(sample, block):
    ids, vectors, expected = sample
    assert Accepted(THRESHOLD, block).judge(ids, vectors) == expected


def test_how_candidates_are_cut_into_calls_does_not_matter(sample):
    ids, vectors, expected = sample
    accepted, verdicts, start = Accepted(THRESHOLD), [], 0
    draw = np.random.default_rng(1)
    while start < len(ids):
        end = start + int(draw.integers(1, 400))
        verdicts += accepted.judge(ids[start:end], vectors[start:end])
        start = end
    assert verdicts == expected
    assert len(accepted) == sum(verdict.accepted for verdict in expected)


def test_what_stands_already_is_kept_and_judged_against(sample):
    ids, vectors, expected = sample
    accepted = Accepted(THRESHOLD)
    keep = [index for index in range(1000) if expected[index].accepted]
    accepted.add([ids[index] for index in keep], vectors[keep])
    assert accepted.judge(ids[1000:], vectors[1000:]) == expected[1000:]


def test_close_calls_at_the_threshold_are_decided_exactly():
    # Pairs whose cosine is within a few float32 roundings of the threshold, on both sides.
    draw = np.random.default_rng(2)
    vectors = []
    for step in range(200):
        one = normalised(draw.normal(size=(1, 384)))[0].astype(np.float64)
        away = draw.normal(size=384)
        away -= (away @ one) * one
        away /= np.linalg.norm(away)
        cosine = THRESHOLD + (step - 100) * 1e-9
        vectors += [one, cosine * one + np.sqrt(1 - cosine**2) * away]
    vectors = np.array(vectors).astype(np.float32)
    ids = [str(index) for index in range(len(vectors))]
    expected = [verdict.accepted for verdict in one_by_one(ids, vectors)]
    assert 20 < expected[1::2].count(True) < 180
    for block in (1, 16, 64, 400):
        accepted, found = Accepted(THRESHOLD), []
        for start in range(0, len(ids), block):
            part = accepted.judge(ids[start : start + block], vectors[start : start + block])
            found += [verdict.accepted for verdict in part]
        assert found == expected


def test_equal_vectors_have_the_earliest_as_their_nearest():
    vectors = np.repeat(normalised(np.ones((1, 384))), 4, axis=0)
    verdicts = Accepted(THRESHOLD).judge(list("abcd"), vectors)
    assert [verdict.accepted for verdict in verdicts] == [True, False, False, False]
    assert {verdict.nearest_id for verdict in verdicts[1:]} == {"a"}
    # Only what exceeds the threshold is rejected.
    units = np.eye(2, dtype=np.float32)[[0, 0]]
    assert all(verdict.accepted for verdict in Accepted(1.0).judge(["a", "b"], units))


def test_counts_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"Number of ids \(2\) must match vectors \(1\)"):
        Accepted(THRESHOLD).judge(["a", "b"], normalised(np.ones((1, 4))))
