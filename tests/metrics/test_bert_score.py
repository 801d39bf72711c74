from __future__ import annotations

import pytest
import torch

from medvlm.metrics.bert_score import bert_score

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the lad rca is normal severe stenosis of no disease in".split()


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def test_identical_texts_score_one_and_others_less(model_path):
    found = bert_score(["the lad is normal", "the rca is normal"], ["the lad is normal"] * 2, model_path)
    assert found["f1"][0] == pytest.approx(1, abs=1e-5)
    assert found["f1"][1] < 0.999


def test_precision_and_recall_swap_with_the_texts(model_path):
    short, long = ["severe stenosis"], ["severe stenosis of the lad"]
    one, other = bert_score(short, long, model_path), bert_score(long, short, model_path)
    assert one["precision"] == pytest.approx(other["recall"], abs=1e-5)
    assert one["recall"] == pytest.approx(other["precision"], abs=1e-5)
    assert one["f1"] == pytest.approx(2 / (1 / one["precision"] + 1 / one["recall"]), abs=1e-6)


def test_word_embeddings_by_hand(model_path):
    # Layer 0 before any attention: the same word at the same place is the same vector.
    found = bert_score(["the lad"], ["the rca"], model_path, layer=0)
    from transformers import BertModel

    model = BertModel.from_pretrained(model_path).eval()
    with torch.no_grad():
        said, meant = (
            torch.nn.functional.normalize(
                model.embeddings(torch.tensor([[2, *(WORDS.index(w) for w in t.split()), 3]]))[0, 1:-1], dim=-1
            )
            for t in ("the lad", "the rca")
        )
    match = said @ meant.T
    assert found["precision"][0] == pytest.approx(float(match.max(dim=1).values.mean()), abs=1e-5)


def test_batches_and_empty_texts_change_nothing_else(model_path):
    said = ["the lad is normal", "", "no disease in the rca", "severe stenosis"] * 3
    meant = ["the rca is normal", "the lad", "no disease", "severe stenosis of the lad"] * 3
    one, many = (bert_score(said, meant, model_path, batch_size=n)["f1"] for n in (1, 8))
    assert one == pytest.approx(many, abs=1e-5)
    assert one[1] == 0


def test_a_path_without_a_model_is_refused(tmp_path, model_path):
    with pytest.raises(FileNotFoundError, match="leave the path empty"):
        bert_score(["a"], ["a"], tmp_path)
    with pytest.raises(ValueError, match="layer must lie"):
        bert_score(["lad"], ["lad"], model_path, layer=5)
    with pytest.raises(ValueError, match="got 2 for 1"):
        bert_score(["lad"], ["lad", "rca"], model_path)
