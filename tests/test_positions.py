"""Which token each position of an embedding stands for."""

from __future__ import annotations

import torch

from whybert.positions import Standing


def test_what_stands_in_several_positions_is_summed_and_what_is_no_tokens_is_told_apart() -> None:
    """Against loops: an encoder's positions, then a decoder's one place to the right behind a start token."""
    token = torch.tensor([[0, 1, 2, -1, 0, 1], [0, 1, 2, 2, 0, 1]])
    standing = Standing(token, 3)
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    expected = torch.zeros(2, 3, 4, dtype=torch.float64)
    rest = torch.zeros(2, dtype=torch.float64)
    for row in range(2):
        for position, column in enumerate(token[row].tolist()):
            if column < 0:
                rest[row] += numbers[row, position].sum()
            else:
                expected[row, column] += numbers[row, position]
    torch.testing.assert_close(standing.folded(numbers), expected)
    torch.testing.assert_close(standing.folded(numbers.sum(-1)), expected.sum(-1))
    torch.testing.assert_close(standing.folded(numbers.transpose(1, 2), 2), expected.transpose(1, 2))
    torch.testing.assert_close(standing.elsewhere(numbers.sum(-1)), rest)
    assert Standing(token[1:], 3).elsewhere(numbers[1:].sum(-1)) is None


def test_numbers_of_tokens_are_those_of_each_of_their_positions() -> None:
    standing = Standing(torch.tensor([[0, 1, -1, 0], [0, 1, 1, 0]]), 2)
    tokens = torch.tensor([[5.0, 7.0], [1.0, 2.0]])
    assert standing.spread(tokens).tolist() == [[5.0, 7.0, 0.0, 5.0], [1.0, 2.0, 2.0, 1.0]]
    rows = torch.tensor([1, 1, 0])
    flags = torch.tensor([[True, False], [False, True], [True, True]])
    assert standing.spread(flags, rows).tolist() == [
        [True, False, False, True],
        [False, True, True, False],
        [True, True, False, True],
    ]
