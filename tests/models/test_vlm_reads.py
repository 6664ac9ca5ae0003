"""The input of a vision-language model equals that of its own processor, pixel for pixel, word for word."""

import numpy as np
import pytest
import tiny_vlms as tiny
import torch
from PIL import Image

from robo_orl.models.vlm.loading import build
from robo_orl.models.vlm.pixels import patches, resize, square
from robo_orl.models.vlm.towers import family_of

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def model(request, tmp_path_factory):
    """A backbone that reads images and instruction alone."""
    return tiny.backbone(tiny.written(request.param, tmp_path_factory.mktemp("sizes")), spec={}).eval()


def pictures(obs, row):
    return [Image.fromarray(obs.images[camera][row].permute(1, 2, 0).numpy()) for camera in tiny.CAMERAS]


@pytest.mark.parametrize("resample", [1, 2, 3], ids=["lanczos", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [48, 84, 100, 224])
def test_resizing_gives_the_bytes_of_pillow(resample, size):
    image = np.random.default_rng(0).integers(0, 256, (84, 84, 3), dtype=np.uint8)
    theirs = np.array(Image.fromarray(image).resize((size, size), resample=resample))
    ours = resize(torch.from_numpy(image).permute(2, 0, 1)[None], size, size, resample)
    assert torch.equal(ours[0].permute(1, 2, 0), torch.from_numpy(theirs).float())


@pytest.mark.parametrize("side", [24, 56, 84])
def test_pixels_are_those_of_the_models_own_processor(model, side):
    images = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    inputs = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    theirs = tiny.image_processor(model.architecture)(inputs, return_tensors="pt")
    if "image_grid_thw" in theirs:
        ours, grid = patches(images, model.architecture.image, merge=2, frames=2)
        assert theirs["image_grid_thw"].tolist() == [[1, *grid]] * 2
    else:
        ours = square(images, model.architecture.image)
    torch.testing.assert_close(ours, theirs["pixel_values"].reshape(ours.shape), rtol=0, atol=2e-6)


def test_the_prompt_is_the_one_of_the_models_own_processor(model):
    obs = tiny.observation(model)
    p, row = model.prompt, tiny.SENTENCES[1]
    theirs = tiny.processed(model.architecture, pictures(obs, 1), row)["input_ids"][0].tolist()
    image = [model.architecture.config["image_token_id"]]
    places = theirs.count(image[0]) // 2
    said = obs.instruction[1][obs.instruction_mask[1]].tolist()
    assert theirs == p.head + 2 * (p.before + places * image + p.after) + p.middle + said + p.tail


def test_tokens_are_the_hidden_states_of_the_published_forward_pass(model):
    """Rows of two lengths at once here, each alone there: padding changes nothing, nor do positions of images."""
    obs = tiny.observation(model)
    published = build(model.architecture).eval()
    published.load_state_dict(model.model.state_dict())
    with torch.no_grad():
        ours = model(obs)
        for row, sentence in enumerate(tiny.SENTENCES):
            inputs = tiny.processed(model.architecture, pictures(obs, row), sentence)
            hidden = published(**inputs, use_cache=False).last_hidden_state[0]
            image = inputs["input_ids"][0] == model.architecture.config["image_token_id"]
            said = int(obs.instruction_mask[row].sum())
            after = len(model.prompt.tail)
            words = hidden[-after - said : -after]
            padded = words[-1:].expand(obs.instruction.shape[1] - said, -1)  # the last word again
            theirs = torch.cat((hidden[image], words, padded, hidden[-after:]))
            torch.testing.assert_close(ours[row], theirs, **TOLERANCE)


@pytest.mark.parametrize(("name", "window"), [("qwen3vl_4b", None), ("qwen2.5vl_3b", 28), ("qwen2.5vl_3b", 56)])
def test_images_that_attend_together_see_what_each_sees_alone(name, window):
    """A grid of 3 x 3 tokens: windows of one are alike, those of two by two are smaller at the rim."""
    architecture = tiny.tiny(name)
    if window:
        architecture.config["vision_config"]["window_size"] = window
    family, model, published = family_of(architecture), build(architecture), build(architecture)
    published.load_state_dict(model.state_dict())
    family.prepare(model)
    images = torch.randint(0, 256, (3, 3, 84, 84), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    pixels, grid = patches(images, architecture.image, merge=2, frames=2)
    assert grid == (6, 6)
    with torch.no_grad():
        together = family.encode_images(model, images).tokens
        alone = [published.visual(p, grid_thw=torch.tensor([[1, *grid]])).pooler_output for p in pixels.chunk(3)]
    torch.testing.assert_close(together, torch.stack(alone), **TOLERANCE)


@pytest.mark.parametrize("name", ["qwen3vl_4b", "qwen2.5vl_3b"])
def test_what_is_kept_of_a_grid_while_acting_serves_training_too(name):
    architecture = tiny.tiny(name)
    family, model = family_of(architecture), build(architecture)
    family.prepare(model)
    images = torch.zeros((5, 3, 84, 84), dtype=torch.uint8)  # a number of images that no other test has
    with torch.inference_mode():
        family.encode_images(model, images)
    family.encode_images(model, images).tokens.sum().backward()


def test_it_runs_under_bf16_autocast_and_in_float64(model):
    obs = tiny.observation(model)
    with torch.no_grad():
        plain = model(obs)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(obs)
        precise = model.double()(obs)
    model.float()
    assert precise.dtype == torch.float64
    torch.testing.assert_close(precise.float(), plain, rtol=1e-3, atol=1e-4)
    assert (half.float() - plain).abs().max() < 0.2
