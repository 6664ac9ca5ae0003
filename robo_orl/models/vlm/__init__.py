"""Vision-language models of `transformers`: their published configurations, image processing, prompts and loading."""
