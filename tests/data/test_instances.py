import numpy as np

from covidcx.data.instances import join_instances, split_instances


def test_pieces_come_largest_first_and_join_again():
    mask = np.zeros((20, 20), np.int8)
    mask[2:6, 2:6], mask[8:18, 8:18], mask[0, 19] = 1, 1, -1
    planes = split_instances(mask, 3)
    assert [(planes[..., i] == 1).sum() for i in range(3)] == [100, 16, 0]
    assert (planes[0, 19] == -1).all()
    assert np.array_equal(join_instances(planes)[..., 0], mask)


def test_what_has_no_plane_is_ignored_and_not_background():
    mask = np.zeros((40, 40), np.int8)
    mask[0:10, 0:10], mask[20:28, 20:28], mask[39, 39] = 1, 1, 1
    planes = split_instances(mask, 1, least=0.01)
    assert (planes == 1).sum() == 100
    assert (planes[20:28, 20:28] == -1).all() and planes[39, 39, 0] == -1
    assert (planes == 0).sum() == 1600 - 100 - 64 - 1


def test_an_unlabelled_mask_stays_unlabelled_and_an_empty_one_empty():
    assert (split_instances(np.full((5, 5), -1, np.int8), 2) == -1).all()
    assert not split_instances(np.zeros((5, 5), np.int8), 2).any()
