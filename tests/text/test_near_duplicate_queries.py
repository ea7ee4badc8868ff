import numpy as np
import pytest

from corpus.text.near_duplicate_queries import Accepted, Vectors, Verdict

DIMENSION = 384
THRESHOLD = 0.85


def unit(vectors: np.ndarray) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def names(count: int) -> list[str]:
    return [f"q{number:05d}" for number in range(count)]


def clustered(count: int, seed: int = 1) -> Vectors:
    """Families of near and far relatives, and among them copies to the bit."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(60, DIMENSION))
    spread = rng.uniform(0.2, 1.2, size=(count, 1))
    vectors = centres[rng.integers(60, size=count)] + spread * rng.normal(size=(count, DIMENSION))
    copies = rng.choice(count, size=count // 20, replace=False)
    vectors[copies] = vectors[rng.integers(count, size=len(copies))]
    return unit(vectors)


def near_threshold(families: int, seed: int = 2) -> Vectors:
    """Heads, each followed by relatives whose cosine with it is the threshold give or take 1e-8."""
    rng = np.random.default_rng(seed)
    vectors = []
    for head in rng.normal(size=(families, DIMENSION)):
        head = unit(head).astype(np.float64)
        vectors.append(head)
        for step in range(-10, 11):
            cosine = THRESHOLD + step * 1e-8
            away = rng.normal(size=DIMENSION)
            away -= (away @ head) * head
            away /= np.linalg.norm(away)
            vectors.append(cosine * head + np.sqrt(1 - cosine**2) * away)
    return unit(np.array(vectors))


def one_by_one(vectors: Vectors, threshold: float = THRESHOLD) -> list[Verdict]:
    """The plain way in float64: each against all accepted before it."""
    ids, wide = names(len(vectors)), vectors.astype(np.float64)
    accepted: list[int] = []
    verdicts = []
    for number, vector in enumerate(wide):
        if not accepted:
            verdicts.append(Verdict(ids[number], True, None, None))
            accepted.append(number)
            continue
        cosines = (wide[accepted] * vector).sum(axis=1)
        nearest = int(cosines.argmax())
        cosine = min(float(cosines[nearest]), 1.0)
        good = cosine <= threshold
        verdicts.append(Verdict(ids[number], good, ids[accepted[nearest]], round(cosine, 6)))
        if good:
            accepted.append(number)
    return verdicts


@pytest.fixture(scope="module")
def mixed() -> Vectors:
    rng = np.random.default_rng(3)
    vectors = np.concatenate([clustered(1400), unit(rng.normal(size=(600, DIMENSION)))])
    return vectors[rng.permutation(len(vectors))]


@pytest.fixture(scope="module")
def adversarial() -> Vectors:
    return near_threshold(60)


@pytest.fixture(scope="module", params=["mixed", "adversarial"])
def case(request: pytest.FixtureRequest) -> tuple[Vectors, list[Verdict]]:
    """Vectors and what the plain way says of them."""
    vectors = request.getfixturevalue(request.param)
    return vectors, one_by_one(vectors)


@pytest.mark.parametrize("block", [1, 7, 256, 5000])
def test_equals_the_plain_way_at_any_block_size(
    block: int, case: tuple[Vectors, list[Verdict]]
) -> None:
    vectors, expected = case
    assert Accepted(THRESHOLD, block=block).judge(names(len(vectors)), vectors) == expected
    rejected = sum(not verdict.accepted for verdict in expected)
    assert 0.1 < rejected / len(expected) < 0.9


@pytest.mark.parametrize("seed", range(6))
def test_verdicts_do_not_depend_on_the_split_into_calls(
    seed: int, case: tuple[Vectors, list[Verdict]]
) -> None:
    vectors, expected = case
    ids = names(len(vectors))
    rng = np.random.default_rng(seed)
    cuts = sorted(rng.integers(len(ids) + 1, size=rng.integers(1, 60)))
    accepted, verdicts = Accepted(THRESHOLD), []
    for start, end in zip([0, *cuts], [*cuts, len(ids)], strict=True):
        verdicts += accepted.judge(ids[start:end], vectors[start:end])
    assert verdicts == expected
    assert accepted.ids == [verdict.id for verdict in verdicts if verdict.accepted]
    assert len(accepted) == len(accepted.ids)


def test_the_adversarial_vectors_would_mislead_a_float32_product(adversarial: Vectors) -> None:
    family = adversarial.reshape(-1, 22, DIMENSION)
    head, relatives = family[:, 0], family[:, 1:]
    exact = np.einsum("fd,frd->fr", head.astype(np.float64), relatives.astype(np.float64))
    plain = np.stack([r @ h for h, r in zip(head, relatives, strict=True)])
    assert np.abs(exact - THRESHOLD).max() < 3e-7
    assert ((plain > THRESHOLD) != (exact > THRESHOLD)).any()


def test_what_stands_is_judged_against_but_not_judged(mixed: Vectors) -> None:
    ids = names(len(mixed))
    whole = Accepted(THRESHOLD)
    verdicts = whole.judge(ids, mixed)
    places = [place for place, verdict in enumerate(verdicts[:900]) if verdict.accepted]
    standing = Accepted(THRESHOLD)
    standing.add([ids[place] for place in places[:300]], mixed[places[:300]])
    standing.add([ids[place] for place in places[300:]], mixed[places[300:]])
    assert standing.judge(ids[900:], mixed[900:]) == verdicts[900:]
    assert standing.ids == whole.ids

    twins = Accepted(THRESHOLD)
    twins.add(["a", "b"], mixed[[0, 0]])
    assert twins.ids == ["a", "b"]
    assert twins.judge(["c"], mixed[[0]]) == [Verdict("c", False, "a", 1.0)]


def test_of_equal_neighbours_the_earliest_is_named(mixed: Vectors) -> None:
    accepted = Accepted(1.0, block=2)
    copies = mixed[[5, 9, 5, 9, 5]]
    verdicts = accepted.judge(names(5), copies)
    assert all(verdict.accepted for verdict in verdicts)  # 1.0 is reached, not exceeded
    assert [verdict.nearest_id for verdict in verdicts[2:]] == ["q00000", "q00001", "q00000"]
    assert [verdict.similarity for verdict in verdicts[2:]] == [1.0, 1.0, 1.0]


def test_a_rejected_candidate_rejects_nobody() -> None:
    angles = np.radians([0, 25, 50])  # neighbours have cosine 0.906, the ends 0.643
    vectors = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    verdicts = Accepted(THRESHOLD).judge(["first", "second", "third"], vectors)
    assert [verdict.accepted for verdict in verdicts] == [True, False, True]
    assert verdicts[1] == Verdict("second", False, "first", 0.906308)
    assert verdicts[2] == Verdict("third", True, "first", 0.642788)


def test_nothing_in_nothing_out() -> None:
    accepted = Accepted(THRESHOLD)
    nothing = np.empty((0, 0), dtype=np.float32)
    assert accepted.judge([], nothing) == []
    accepted.add([], nothing)
    assert len(accepted) == 0


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["a", "b"], np.ones((1, 4), np.float32) / 2, r"Number of ids \(2\) must match"),
        (["a"], np.ones((1, 4)) / 2, "must be float32"),
        (["a"], np.ones(4, np.float32) / 2, "must be float32"),
        (["a"], np.ones((1, 4), np.float32), "the longest is 2"),
        (["a"], np.full((1, 4), np.nan, np.float32), "the longest is nan"),
        (["a"], np.ones((1, 5), np.float32) / 3, r"Dimension of vectors \(5\) must match"),
    ],
)
def test_vectors_that_cannot_be_compared_are_refused(
    ids: list[str], vectors: np.ndarray, message: str
) -> None:
    accepted = Accepted(THRESHOLD)
    accepted.add(["first"], np.eye(4, dtype=np.float32)[:1])
    for act in (accepted.add, accepted.judge):
        with pytest.raises(ValueError, match=message):
            act(ids, vectors)
    assert accepted.ids == ["first"]
