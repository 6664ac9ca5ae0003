"""Debug-size models of every family, their files, tokenisers and processors, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from robo_orl.base.types import Observation
from robo_orl.config import BackboneConfig, ObservationConfig, deep_merge
from robo_orl.models.backbones.vlm import VLM
from robo_orl.models.vlm.architectures import FOLDER, Architecture
from robo_orl.models.vlm.prompt import BYTE_OFFSET

SPEC = {"robot0_eef_pos": 3, "robot0_gripper_qpos": 2}
CAMERAS = ("agentview", "robot0_eye_in_hand")
SENTENCES = ["lift the cube", "put the red cube on the green one"]
SPECIAL_FROM = BYTE_OFFSET + 256
_TEXT = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
_QWEN_VISION = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
SMALLER = {
    "debug": {},
    "paligemma2_3b": {
        "image": {"edge": 28},
        "config": {
            "projection_dim": 64,
            "text_config": _TEXT | {"num_key_value_heads": 1, "head_dim": 32, "query_pre_attn_scalar": 32},
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 28,
                "projection_dim": 64,
            },
        },
    },
    "qwen2.5vl_3b": {
        "config": {
            "text_config": _TEXT | {"num_key_value_heads": 1, "rope_parameters": {"mrope_section": [4, 6, 6]}},
            "vision_config": _QWEN_VISION | {"fullatt_block_indexes": [1], "window_size": 28},
        },
    },
    "qwen3vl_4b": {
        "image": {"min_pixels": 4096},
        "config": {
            "text_config": _TEXT
            | {"num_key_value_heads": 1, "head_dim": 32, "rope_parameters": {"mrope_section": [6, 5, 5]}},
            "vision_config": _QWEN_VISION | {"num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        },
    },
}
FAMILIES = tuple(SMALLER)


def tiny(name: str) -> Architecture:
    """The shipped architecture with few layers, narrow ones, and a vocabulary of bytes and special tokens."""
    values = deep_merge(json.loads((FOLDER / f"{name}.json").read_text()), SMALLER[name])
    tokens = [*values["special_tokens"], "<|video_pad|>"]
    ids = {token: SPECIAL_FROM + i for i, token in enumerate(tokens)}
    named = {
        "image_token_id": ["<image>", "<|image_pad|>"],
        "video_token_id": ["<|video_pad|>"],
        "vision_start_token_id": ["<|vision_start|>"],
        "vision_end_token_id": ["<|vision_end|>"],
    }
    config = values["config"]
    for key, names in named.items():
        if key in config:
            config[key] = next(ids[token] for token in names if token in ids)
    config["text_config"]["vocab_size"] = SPECIAL_FROM + 16
    ids.pop("<|video_pad|>")
    return Architecture.model_validate(values | {"special_tokens": ids})


def written(name: str, folder: Path) -> str:
    """The path of a tiny architecture's file: what backbone.size takes."""
    path = folder / f"{name}.json"
    path.write_text(tiny(name).model_dump_json())
    return str(path)


def backbone(size: str, instruction: bool = True, spec: dict[str, int] = SPEC, seed: int = 0, **fields) -> VLM:
    """A freshly drawn backbone on two cameras."""
    torch.manual_seed(seed)
    config = BackboneConfig(kind="vlm", size=size, **fields)
    return VLM(spec, config, ObservationConfig(cameras=list(CAMERAS), image_size=56, instruction=instruction))


def observation(model: VLM, sentences: list[str] | None = None, seed: int = 0) -> Observation:
    """A row per sentence."""
    sentences = SENTENCES if sentences is None else sentences
    generator = torch.Generator().manual_seed(seed)
    batch = len(sentences)
    images = {c: torch.randint(0, 256, (batch, 3, 56, 56), generator=generator, dtype=torch.uint8) for c in CAMERAS}
    low_dim = {key: torch.randn(batch, size, generator=generator) for key, size in SPEC.items()}
    ids, mask = VLM.tokeniser(model.config)(sentences) if model.observation.instruction else (None, None)
    return Observation(low_dim, images, ids, mask)


def tokenizer(model: Architecture, merges: list[tuple[str, str]] | None = None) -> object:
    """A fast tokenizer on bytes with the architecture's special tokens; `merges` make it another vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {_letter(byte): BYTE_OFFSET + byte for byte in range(256)} | model.special_tokens
    for i, pair in enumerate(merges or []):
        vocabulary["".join(pair)] = i
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges or []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in model.special_tokens])
    return PreTrainedTokenizerFast(tokenizer_object=made)


def _letter(byte: int) -> str:
    """The letter that stands for a byte in byte-level vocabularies: printable ones are themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return chr(byte if byte in printable else 256 + sorted(set(range(256)) - set(printable)).index(byte))


def image_processor(model: Architecture) -> object:
    """The model's own image processor (Pillow's), set as the architecture says."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    image = model.image
    common = {"resample": image.resample, "image_mean": list(image.mean), "image_std": list(image.std)}
    if model.model_type == "smolvlm":
        edge = {"longest_edge": image.edge}
        return SmolVLMImageProcessorPil(size=edge, max_image_size=edge, do_image_splitting=False, **common)
    if model.model_type == "paligemma":
        return SiglipImageProcessorPil(size={"height": image.edge, "width": image.edge}, **common)
    bounds = {"shortest_edge": image.min_pixels, "longest_edge": image.max_pixels}
    return Qwen2VLImageProcessorPil(size=bounds, patch_size=image.patch_size, **common)


PROMPTS = {  # what a user's turn with two images is, as the models' published chat templates write it
    "smolvlm": "<|im_start|>User:<image><image>{}<end_of_utterance>\nAssistant:",
    "paligemma": "<image><image>{}",  # its processor adds the rest
    "qwen2_5_vl": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    + "<|vision_start|><|image_pad|><|vision_end|>" * 2
    + "{}<|im_end|>\n<|im_start|>assistant\n",
    "qwen3_vl": "<|im_start|>user\n"
    + "<|vision_start|><|image_pad|><|vision_end|>" * 2
    + "{}<|im_end|>\n<|im_start|>assistant\n",
}


def processed(model: Architecture, pictures: list[object], sentence: str) -> dict[str, torch.Tensor]:
    """The model's own processor on one observation: two Pillow images and a sentence."""
    from transformers import PaliGemmaProcessor, Qwen2_5_VLProcessor, Qwen3VLProcessor, SmolVLMProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
    from transformers.models.smolvlm import processing_smolvlm
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    parts = {"image_processor": image_processor(model), "tokenizer": tokenizer(model)}
    if model.model_type == "smolvlm":
        processing_smolvlm.num2words = processing_smolvlm.num2words or str  # spells out numbers of video frames
        vision = model.config["vision_config"]
        tokens = (vision["image_size"] // vision["patch_size"] // model.config["scale_factor"]) ** 2
        processor = SmolVLMProcessor(**parts, video_processor=SmolVLMVideoProcessor(), image_seq_len=tokens)
    elif model.model_type == "paligemma":
        parts["image_processor"].image_seq_length = (model.image.edge // 14) ** 2
        parts["tokenizer"].add_special_tokens({"bos_token": "<bos>"})
        processor = PaliGemmaProcessor(**parts)
    elif model.model_type == "qwen2_5_vl":
        processor = Qwen2_5_VLProcessor(**parts, video_processor=Qwen2VLVideoProcessor())
    else:
        processor = Qwen3VLProcessor(**parts, video_processor=Qwen3VLVideoProcessor())
    text = PROMPTS[model.model_type].format(sentence)
    return dict(processor(text=[text], images=[pictures], return_tensors="pt"))
