"""Codebooks: choosing, following, restarting and describing codes."""

import math

import pytest
import torch
import torch.nn.functional as F

from eeglab_models.pretraining.codebrain.codebook import Codebook, describe_codes, k_means


@pytest.fixture
def book():
    """Four codes that point right, up, left and down."""
    book = Codebook(n_codes=4, code_dim=2, decay=0.75, dead_after=2)
    book.codes.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
    return book


def follow(book, *parts, chances=None):
    """Take one step in training mode, in one part or in several."""
    for vectors in parts:
        book(vectors)
    book.update(chances)


def test_a_vector_gets_the_code_of_the_most_similar_direction_whatever_its_length(book):
    vectors = torch.tensor([[[0.1, 0.02], [30.0, 40.0]], [[-5.0, 1.0], [0.0, -1e-3]]])

    assert book.look_up(vectors).tolist() == [[0, 1], [2, 3]]


def test_vectors_are_replaced_by_their_codes(book):
    quantised, ids, _ = book.eval()(torch.tensor([[3.0, 1.0], [1.0, -2.0]]))

    assert ids.tolist() == [0, 3]
    torch.testing.assert_close(quantised, torch.tensor([[1.0, 0.0], [0.0, -1.0]]))


def test_gradients_pass_to_the_unit_vectors_as_if_nothing_had_been_replaced(book):
    vectors = torch.randn(5, 2, requires_grad=True)
    weights = torch.randn(5, 2)
    (expected,) = torch.autograd.grad((F.normalize(vectors, dim=-1) * weights).sum(), vectors)

    (grad,) = torch.autograd.grad((book(vectors)[0] * weights).sum(), vectors)

    torch.testing.assert_close(grad, expected)


def test_commitment_is_the_mean_squared_difference_of_unit_vectors_and_codes(book):
    _, _, commitment = book(torch.tensor([[6.0, 8.0], [2.0, 0.0]]))  # (0.6, 0.8) meets (0, 1)

    assert commitment.item() == pytest.approx((0.6**2 + 0.2**2) / 4)


def test_commitment_pulls_vectors_towards_their_codes(book):
    vectors = torch.tensor([[0.6, 0.8]], requires_grad=True)
    book(vectors)[2].backward()

    assert vectors.grad[0, 0] > 0 > vectors.grad[0, 1]


def test_a_code_moves_by_its_decay_towards_the_mean_of_its_vectors(book):
    follow(book, torch.tensor([[0.8, 0.6], [8.0, -6.0], [24.0, 7.0]]))

    mean = F.normalize(torch.tensor([0.8 + 0.8 + 0.96, 0.6 - 0.6 + 0.28]), dim=0)
    expected = F.normalize(0.75 * torch.tensor([1.0, 0.0]) + 0.25 * mean, dim=0)
    torch.testing.assert_close(book.codes[0], expected)


def test_codes_without_vectors_stay(book):
    book.codes.copy_(F.normalize(torch.randn(4, 2), dim=-1))
    before = book.codes.clone()
    follow(book, before[:1])

    assert book.n_idle_steps.tolist() == [0, 1, 1, 1]
    torch.testing.assert_close(book.codes, before)


def test_nothing_changes_in_evaluation_mode(book):
    before = {name: value.clone() for name, value in book.state_dict().items()}
    follow(book.eval(), torch.tensor([[0.8, 0.6]]))

    assert all(torch.equal(before[name], value) for name, value in book.state_dict().items())


def test_a_step_in_parts_moves_codes_once_as_the_whole_does():
    whole, parts = (Codebook(6, 3, restart_dead=True, dead_after=2) for _ in range(2))
    parts.load_state_dict(whole.state_dict())
    for _ in range(5):
        vectors, chances = torch.randn(8, 3), torch.rand(6)
        follow(whole, vectors, chances=chances)
        follow(parts, *vectors.split(2), chances=chances)

    assert torch.equal(parts.codes, whole.codes)
    assert torch.equal(parts.n_idle_steps, whole.n_idle_steps)


def test_a_step_that_was_not_finished_leaves_nothing_behind(book):
    before = book.codes.clone()
    book(torch.tensor([[0.8, 0.6]]))
    follow(book.train())

    assert torch.equal(book.codes, before)
    assert book.n_idle_steps.tolist() == [0, 0, 0, 0]


def test_codes_count_the_steps_since_their_last_vector(book):
    for vectors in ([[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]):
        follow(book, torch.tensor(vectors))

    assert book.n_idle_steps.tolist() == [2, 0, 3, 3]
    assert book.find_dead().tolist() == [True, False, True, True]


def test_dead_codes_restart_at_the_vectors_that_chance_points_to(book):
    book.restart_dead = True
    book.n_idle_steps.copy_(torch.tensor([9, 9, 9, 0]))
    vectors = torch.tensor([[1.0, 0.0], [0.8, 0.6], [1.0, 0.0], [0.6, 0.8]])
    follow(book, vectors, chances=torch.tensor([0.0, 0.3, 1.0, 0.0]))

    torch.testing.assert_close(book.codes[2], torch.tensor([0.6, 0.8]))
    assert book.n_idle_steps.tolist() == [0, 0, 0, 1]
    assert book.codes[1].tolist() != [0.8, 0.6]  # chosen by the last vector, so alive


@pytest.mark.parametrize(("restart_dead", "chances"), [(False, torch.rand(4)), (True, None)])
def test_dead_codes_stay_unless_asked_to_restart(book, restart_dead, chances):
    book.restart_dead = restart_dead
    book.n_idle_steps.fill_(9)
    before = book.codes.clone()
    follow(book, torch.tensor([[1.0, 0.0]]), chances=chances)

    assert torch.equal(book.codes[1:], before[1:])


def test_a_restored_codebook_takes_the_same_next_step(book):
    vectors = torch.randn(2, 10, 2)
    follow(book, vectors[0])
    other = Codebook(n_codes=4, code_dim=2, decay=0.75, dead_after=2)
    other.load_state_dict(book.state_dict())
    for each in (book, other):
        follow(each, vectors[1])

    assert torch.equal(other.codes, book.codes)
    assert torch.equal(other.n_idle_steps, book.n_idle_steps)


def test_k_means_finds_the_directions_that_vectors_gather_around():
    directions = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [-1.0, -1.0, 0.0]]), dim=-1)
    vectors = F.normalize(directions.repeat(20, 1) + 0.01 * torch.randn(60, 3), dim=-1)
    # From one vector of each direction.
    generator = next(
        torch.Generator().manual_seed(seed)
        for seed in range(100)
        if {0, 1, 2}
        == {row % 3 for row in torch.randperm(60, generator=torch.Generator().manual_seed(seed))[:3].tolist()}
    )
    centres = k_means(vectors, 3, generator)

    assert (directions @ centres.T).max(dim=1).values.min() > 0.999
    torch.testing.assert_close(centres.norm(dim=-1), torch.ones(3))


def test_k_means_brings_a_codebook_closer_to_its_vectors():
    book = Codebook(n_codes=8, code_dim=4).eval()
    vectors = torch.randn(100, 4)
    before = book(vectors)[2]
    book.start(vectors, torch.Generator().manual_seed(0))

    assert book(vectors)[2] < before


def test_k_means_refuses_fewer_vectors_than_clusters():
    with pytest.raises(ValueError, match="each of its 5 clusters, got 4 vectors"):
        k_means(torch.eye(4), 5)


def test_codes_are_described_by_how_many_there_are_and_how_evenly():
    facts = describe_codes(torch.tensor([[0, 0, 0, 0], [2, 2, 3, 3]]), n_codes=5)

    entropy = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    expected = {"used": 3, "entropy": entropy, "perplexity": math.exp(entropy), "dominant": 0.5}
    assert {name: value.item() for name, value in facts.items()} == pytest.approx(expected)


def test_dead_codes_are_counted(book):
    book.n_idle_steps.copy_(torch.tensor([0, 5, 1, 2]))

    assert book.monitor(torch.tensor([0]))["dead"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_codes": 1}, "at least 2 codes"),
        ({"decay": 1.0}, "decay must be"),
        ({"dead_after": 0}, "dead_after must be"),
    ],
)
def test_impossible_codebooks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Codebook(**({"n_codes": 4, "code_dim": 2} | arguments))
