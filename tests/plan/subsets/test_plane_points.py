import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from scipy.stats import qmc

from corpus.errors import InvalidInput
from corpus.plan.subsets.plane_points import MOST_POINTS, NEAREST, PlanePoints

SEED = 3


@pytest.fixture(scope="module")
def anchors(prompts):
    return {anchor.name: anchor for anchor in prompts.anchors}


@pytest.fixture(scope="module")
def points(anchors):
    return PlanePoints(anchors, SEED)


def at(anchors, name, valence, arousal):
    """The anchors with one more."""
    new = anchors["happy"].model_copy(update={"name": name, "valence": valence, "arousal": arousal})
    return anchors | {name: new}


def corners(anchors):
    return np.array([(anchor.valence, anchor.arousal) for anchor in anchors.values()])


def plain(places):
    return np.array([(place.valence, place.arousal) for place in places])


def test_points_lie_between_the_anchors_and_apart(anchors, points):
    hull = ConvexHull(corners(anchors))
    for query in range(3):
        found = plain(points.of(query, MOST_POINTS))
        assert (found @ hull.equations[:, :2].T + hull.equations[:, 2] <= 1e-9).all()
        assert pdist(found).min() >= NEAREST


def test_weights_say_where_a_point_lies(anchors, points):
    for place in points.of(0, 50):
        names, weights = zip(*place.blend, strict=True)
        assert sum(weights) == pytest.approx(1.0, abs=1e-12)
        assert list(weights) == sorted(weights, reverse=True)
        assert weights[-1] > 0
        assert len(set(names)) == len(names) <= 3
        mean = sum(w * corners({n: anchors[n]})[0] for n, w in place.blend)
        assert mean == pytest.approx((place.valence, place.arousal), abs=0.002)


def test_more_points_or_queries_leave_earlier_points_where_they_are(anchors):
    few, many = PlanePoints(anchors, SEED), PlanePoints(anchors, SEED)
    for query in (4, 0):
        assert many.of(query, 60)[:12] == few.of(query, 12)
    assert few.of(4, 12) == few.of(4, 60)[:12]


def test_another_query_or_seed_has_other_points(anchors, points):
    assert points.of(0, 5) != points.of(1, 5)
    assert points.of(0, 5) != PlanePoints(anchors, SEED + 1).of(0, 5)


def test_points_spread_more_evenly_than_chance(anchors, points):
    """Judged over the rectangle that lies within the hull, by the usual measure."""
    low, high = np.array([-0.7, -0.5]), np.array([0.4, 0.7])
    spread, chance = [], []
    for query in range(20):
        found = plain(points.of(query, 40))
        inside = found[((found >= low) & (found <= high)).all(axis=1)]
        spread.append(qmc.discrepancy((inside - low) / (high - low)))
        random = np.random.default_rng(query).random((len(inside), 2))
        chance.append(qmc.discrepancy(random))
    assert np.mean(spread) < 0.7 * np.mean(chance)


def test_an_anchor_among_the_others_moves_no_point_and_changes_its_triangles_alone(anchors, points):
    more = at(anchors, "proud", 0.4, 0.3)
    grown = PlanePoints(more, SEED)
    changed = 0
    for query in range(10):
        for before, after in zip(points.of(query, 30), grown.of(query, 30), strict=True):
            assert (after.valence, after.arousal) == (before.valence, before.arousal)
            if after.blend != before.blend:
                changed += 1
                assert "proud" in dict(after.blend)
    assert 0 < changed < 100


def test_an_anchor_outside_the_hull_moves_only_points_into_the_new_part(anchors, points):
    hull = ConvexHull(corners(anchors))
    grown = PlanePoints(at(anchors, "dreamy", 0.95, -0.7), SEED)
    moved = 0
    for query in range(20):
        before, after = plain(points.of(query, 10)), plain(grown.of(query, 10))
        new = after[(before != after).any(axis=1)]
        beyond = (new @ hull.equations[:, :2].T + hull.equations[:, 2] > 0).any(axis=1)
        moved += len(new)
        # One that is not there itself had to make way for one that is.
        assert not len(new) or beyond.any()
    assert 0 < moved < 80


@pytest.mark.parametrize("names", [("sad", "happy"), ("sad",)])
def test_too_few_anchors_have_no_plane_between_them(anchors, names):
    with pytest.raises(InvalidInput, match=r"grid.queries: a grid lies between three anchors"):
        PlanePoints({name: anchors[name] for name in names}, SEED)


def test_a_hull_that_is_full_is_refused(anchors):
    small = {name: anchors[name] for name in ("sad", "tired", "disgusted")}
    with pytest.raises(InvalidInput, match=r"grid.points: no room for 99 points .*; \d+ fit"):
        PlanePoints(small, SEED).of(0, 99)
