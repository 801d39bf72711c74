"""Further inputs of a study: what is missing has no influence, what is there has."""

from __future__ import annotations

import pytest
import torch

from medvlm.networks.blocks.side_inputs import SideInputs


@pytest.fixture
def side() -> SideInputs:
    torch.manual_seed(0)
    network = SideInputs(16, vectors={"ecg": 8, "tabular": 3}, tokens={"note": 6}, heads=2)
    torch.nn.init.ones_(network.gate)
    return network


def inputs() -> dict[str, torch.Tensor]:
    return {"ecg": torch.randn(4, 8), "tabular": torch.randn(4, 3), "note": torch.randn(4, 5, 6)}


@pytest.mark.parametrize("shape", [(4, 16), (4, 7, 16)], ids=["study", "tokens"])
def test_shape_is_kept(side, shape):
    assert side(torch.randn(shape), inputs()).shape == shape


def test_a_new_network_changes_nothing():
    features = torch.randn(4, 16)
    assert torch.equal(SideInputs(16, {"ecg": 8})(features, {"ecg": torch.randn(4, 8)}), features)


def test_missing_inputs_have_no_influence_even_as_nan(side):
    features, given = torch.randn(4, 16), inputs()
    known = {"ecg": torch.tensor([1, 0, 1, 1]), "note": torch.tensor([1, 1, 0, 1])}
    first = side(features, given, known)
    given["ecg"][1], given["note"][2] = torch.nan, torch.nan
    assert torch.equal(side(features, given, known), first) and first.isfinite().all()


def test_unknown_values_of_a_table_and_padding_of_a_note_have_no_influence(side):
    features, given = torch.randn(4, 16), inputs()
    known = {"tabular": torch.tensor([[1, 0, 1]] * 4), "note": torch.tensor([[1, 1, 1, 0, 0]] * 4)}
    first = side(features, given, known)
    given["tabular"][:, 1], given["note"][:, 3:] = torch.nan, torch.nan
    assert torch.equal(side(features, given, known), first)
    shorter = {**given, "note": given["note"][:, :3]}
    assert torch.allclose(side(features, shorter, {"tabular": known["tabular"]}), first, atol=1e-6)


def test_missing_differs_from_zero(side):
    features, given = torch.randn(4, 16), {"tabular": torch.zeros(4, 3)}
    flags = {"tabular": torch.tensor([[1, 1, 0]] * 4)}
    assert (side(features, given) - side(features, given, flags)).abs().max() > 1e-3


def test_a_study_without_any_passes_unchanged(side):
    features = torch.randn(4, 16)
    assert torch.equal(side(features, {}), features)
    nobody = {name: torch.zeros(4) for name in inputs()}
    assert torch.equal(side(features, inputs(), nobody), features)


@pytest.mark.parametrize("name", ["ecg", "tabular", "note"])
def test_what_is_there_counts(side, name):
    features, given = torch.randn(4, 16), inputs()
    first = side(features, given)
    given[name] = given[name] + 1
    assert ((side(features, given) - first).abs().amax(dim=1) > 1e-4).all()


def test_an_absent_name_is_a_missing_input(side):
    features, given = torch.randn(4, 16), inputs()
    without = {name: value for name, value in given.items() if name != "note"}
    flagged = side(features, given, {"note": torch.zeros(4)})
    assert torch.allclose(side(features, without), flagged, atol=1e-6)


def test_a_closed_gate_opens(side):
    torch.nn.init.zeros_(side.gate)
    side(torch.randn(4, 16), inputs()).square().mean().backward()
    assert side.gate.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: SideInputs(16), "at least one name"),
        (lambda: SideInputs(16, {"a": 1}, {"a": 2}), "each once"),
        (lambda: SideInputs(16, {"ecg": 8})(torch.zeros(2, 16), {"ekg": torch.zeros(2, 8)}), "ekg"),
        (lambda: SideInputs(16, {"ecg": 8})(torch.zeros(2, 16), {"ecg": torch.zeros(2, 9)}), r"must be \(2, 8\)"),
        (
            lambda: SideInputs(16, {"ecg": 8})(torch.zeros(2, 16), {"ecg": torch.zeros(2, 8)}, {"ecg": torch.ones(3)}),
            r"known\['ecg'\]",
        ),
    ],
)
def test_faults_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_a_text_is_read_token_by_token_and_its_padding_is_not():
    torch.manual_seed(0)
    part = SideInputs(16, words={"note": 9}, heads=2)
    torch.nn.init.ones_(part.gate)
    features, ids = torch.randn(2, 16), torch.tensor([[1, 5, 2, 0], [1, 7, 8, 2]])
    known = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    first = part(features, {"note": ids}, {"note": known})
    other = ids.clone()
    other[0, 3] = 700  # padding, not even of the vocabulary
    assert torch.equal(part(features, {"note": other}, {"note": known}), first)
    other[1, 1:3] = torch.tensor([8, 7])  # the same words in another order
    assert (part(features, {"note": other}, {"note": known}) - first).abs()[1].max() > 1e-4
    assert torch.equal(part(features, {}), features)
    assert torch.equal(part(features, {"note": ids}, {"note": torch.zeros(2)}), features)


def test_tokens_that_are_none_are_refused():
    part = SideInputs(16, words={"note": 9}, heads=2)
    with pytest.raises(ValueError, match="token 9 .* is not of its vocabulary of 9"):
        part(torch.randn(1, 16), {"note": torch.tensor([[9]])})
    with pytest.raises(ValueError, match="must be token numbers"):
        part(torch.randn(1, 16), {"note": torch.rand(1, 3)})
