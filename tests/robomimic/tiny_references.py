"""robomimic's algorithms at a size that trains in no time: settings for `--set`."""

SHORT = ["train.batch_size=8", "train.num_epochs=2", "experiment.epoch_every_n_steps=1"]
VAE = ["encoder_layer_dims=[8]", "decoder_layer_dims=[8]", "prior_layer_dims=[8]", "latent_dim=2"]
RNN = ["actor.rnn.hidden_dim=8", "actor.actor_layer_dims=[]"]
TINY = {
    "bc_rnn_gmm": ["rnn.hidden_dim=8"],
    "bc_transformer": ["transformer.embed_dim=8", "transformer.num_layers=1", "transformer.num_heads=2"],
    "iql": ["critic.layer_dims=[8]", "actor.layer_dims=[8]"],
    "cql": ["critic.layer_dims=[8]", "actor.layer_dims=[8]"],
    "bcq": ["critic.layer_dims=[8]", *(f"action_sampler.vae.{item}" for item in VAE)],
    "td3_bc": ["critic.layer_dims=[8]", "actor.layer_dims=[8]"],
    "hbc": [*RNN, *(f"planner.vae.{item}" for item in VAE)],
    "iris": [
        *RNN,
        "value_planner.value.critic.layer_dims=[8]",
        *(f"value_planner.planner.vae.{item}" for item in VAE),
        *(f"value_planner.value.action_sampler.vae.{item}" for item in VAE),
    ],
}


def settings(name: str, *more: str) -> list[str]:
    """All that makes the algorithm `name` tiny, and what else is set."""
    return [*SHORT, *(f"algo.{item}" for item in TINY[name]), *more]
