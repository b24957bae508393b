"""The engine's own trainer, a tiny BERT, and the tab that fine-tunes."""

from pathlib import Path

import pytest

from lab_app.modelling.fine_tune import FineTuneTab
from tests.lab_app.desk import Desk
from tests.lab_app.modelling.acts import FILLERS, WORDS


@pytest.fixture
def trainer() -> None:
    """The engine's own trainer."""
    return None


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of one layer with random weights and a tokenizer of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sum(WORDS.values(), ()), *FILLERS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture
def tab(desk: Desk) -> FineTuneTab:
    desk.context.warmth.mark_warm()
    found: FineTuneTab = desk.page("models").show_tab("fine-tune")
    desk.settle()
    return found
