"""What attention maps say in few numbers: how far, how widely, how alike, to where, and through all layers.

Every function takes maps as `attention_maps` returns them and leaves the axes it does not speak of as they
are, so most can be given to `attention_maps` as `reduce`.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float, Shaped

from eeglab_models.signals.electrodes import electrode_name, montage

__all__ = ["entropy", "head_similarity", "marginal", "mean_distance", "rollout", "topography_over_time"]


def marginal(attention: xr.DataArray, to: Literal["channels", "time"]) -> xr.DataArray:
    """Add up the attention that each channel, or each time, receives.

    Parameters
    ----------
    attention : xarray.DataArray
        Map with the axis ``key``.
    to : {"channels", "time"}
        Add up the patches of a channel, or those of a time.

    Returns
    -------
    received : xarray.DataArray
        The map with ``channel`` or ``time`` (s) in the place of ``key``; the rest went to summary tokens.

    Raises
    ------
    ValueError
        If the tokens have no channel or no time of their own.
    """
    if to == "channels":
        places = token_places(attention, "key", "channel")
        placed = places[places != ""]
        # Channels keep their order.
        groups = placed[np.sort(np.unique(placed, return_index=True)[1])]
    else:
        places = token_places(attention, "key", "time")
        groups = np.unique(places[~np.isnan(places)])
    axis = "channel" if to == "channels" else "time"
    members = (places[:, None] == groups).astype(attention.dtype)  # (n_keys, n_groups)
    received = xr.dot(attention, xr.DataArray(members, {axis: groups}, ["key", axis]), dim="key")
    return received.assign_attrs(attention.attrs)


def topography_over_time(attention: xr.DataArray) -> xr.DataArray:
    """Lay out the attention that tokens receive on average as channels by time.

    Parameters
    ----------
    attention : xarray.DataArray
        Map with the axis ``key``, and ``query`` if tokens look. Choose those who look before, as in
        ``attention.sel(query=["summary 0"])``.

    Returns
    -------
    received : xarray.DataArray
        The map with ``channel`` and ``time``, in seconds, in the place of ``query`` and ``key``, or, for
        EEGPT, of ``moment``, ``query`` and ``key``.

    Raises
    ------
    ValueError
        If the tokens have no channel of their own.
    """
    if "query" in attention.dims:
        attention = attention.mean("query", keep_attrs=True)
    if "moment" in attention.dims:
        received = marginal(attention, "channels").rename(moment="time")
        return received.transpose(..., "channel", "time")
    channels, times = (token_places(attention, "key", place) for place in ("channel", "time"))
    placed = attention.isel(key=channels != "")
    index = {"channel": ("key", channels[channels != ""]), "time": ("key", times[channels != ""])}
    names = [name for name in placed.coords if "key" in placed[name].dims]
    order = list(dict.fromkeys(index["channel"][1]))
    received = placed.drop_vars(names).assign_coords(index).set_index(key=["channel", "time"]).unstack("key")
    return received.sel(channel=order).transpose(..., "channel", "time")


def mean_distance(attention: xr.DataArray, over: Literal["channels", "time"]) -> xr.DataArray:
    """Measure how far tokens look, in space or in time.

    Parameters
    ----------
    attention : xarray.DataArray
        Map with the axes ``query`` and ``key``.
    over : {"channels", "time"}
        Distance between electrodes, or between patches.

    Returns
    -------
    distance : xarray.DataArray
        The map without ``key``: the distance to all tokens with a place, weighted by attention, in
        centimetres, straight through a head of 9.5 cm radius, or in seconds. Not-a-number for summary
        tokens, and for those who look at summary tokens only.

    Raises
    ------
    ValueError
        If the tokens have no channel or no time of their own, or if a channel is no electrode of the 10-05
        system.

    References
    ----------
    Dosovitskiy et al. (2021), An image is worth 16x16 words, ICLR, section 4.5: mean attention distance.
    """
    place = "channel" if over == "channels" else "time"
    queries, keys = (token_places(attention, axis, place) for axis in ("query", "key"))
    if over == "channels":
        queries, keys = electrode_positions(queries), electrode_positions(keys)
    else:
        queries, keys = queries[:, None], keys[:, None]
    far = np.linalg.norm(queries[:, None] - keys, axis=-1).astype(attention.dtype)  # (n_queries, n_keys)
    known = xr.DataArray((~np.isnan(keys[:, 0])).astype(attention.dtype), dims=["key"])
    total = xr.dot(attention, known, dim="key")
    reach = xr.dot(attention, xr.DataArray(np.nan_to_num(far), dims=["query", "key"]), dim="key")
    seen = xr.DataArray(~np.isnan(queries[:, 0]), dims=["query"]) & (total > 0)
    distance = (reach / total.where(seen)).transpose(*[axis for axis in attention.dims if axis != "key"])
    return distance.assign_attrs(attention.attrs, unit="cm" if over == "channels" else "s")


def entropy(attention: xr.DataArray) -> xr.DataArray:
    """Measure how widely tokens look: 0 for one token, 1 for all tokens alike.

    Parameters
    ----------
    attention : xarray.DataArray
        Map with the axis ``key``.

    Returns
    -------
    entropy : xarray.DataArray
        The map without ``key``: the entropy of the weights, divided by the logarithm of the number of keys.
    """
    spread = shannon(attention.values, axis=attention.get_axis_num("key"))
    spread = spread / np.log(max(attention.sizes["key"], 2))
    return attention.isel(key=0, drop=True).copy(data=spread.astype(attention.dtype))


def head_similarity(attention: xr.DataArray) -> xr.DataArray:
    """Measure how alike the heads of a layer look: 1 for the same weights, 0 for no common token.

    Parameters
    ----------
    attention : xarray.DataArray
        Map with the axes ``head``, ``key`` and, if tokens look, ``query``.

    Returns
    -------
    similarity : xarray.DataArray
        The map with ``head`` and ``other_head`` in the place of ``head``, ``query`` and ``key``: one minus
        the Jensen-Shannon divergence in bits, averaged over queries.

    References
    ----------
    Clark et al. (2019), What does BERT look at?, BlackboxNLP, section 6: divergence between heads.
    """
    tail = [axis for axis in ("head", "query", "key") if axis in attention.dims]
    weights = attention.transpose(..., *tail).values
    weights = weights if "query" in tail else weights[..., None, :]  # (..., n_heads, n_queries, n_keys)
    heads = np.moveaxis(weights, -3, 0)  # (n_heads, ..., n_queries, n_keys)
    own = [shannon(head).mean(axis=-1) for head in heads]
    similarity = np.ones((*heads.shape[1:-2], len(heads), len(heads)))
    for one in range(len(heads)):
        for other in range(one):
            both = shannon((heads[one] + heads[other]) / 2).mean(axis=-1)
            divergence = (both - (own[one] + own[other]) / 2) / np.log(2)
            similarity[..., one, other] = similarity[..., other, one] = 1 - divergence
    rest = [axis for axis in attention.dims if axis not in tail]
    labels = {name: attention[name] for name in attention.coords if set(attention[name].dims) <= set(rest)}
    return xr.DataArray(similarity, labels, [*rest, "head", "other_head"], "similarity", attention.attrs)


def rollout(maps: Mapping[int, xr.DataArray]) -> xr.DataArray:
    """Follow attention through all layers, back to the tokens that entered the first one.

    A layer's output is taken as half the token itself, by the residual connection, and half what it looks
    at; heads are averaged, and layers multiplied. Summary tokens that join on the way count as having been
    there.

    Parameters
    ----------
    maps : dict of xarray.DataArray
        Maps of all layers from the first on, by layer, with or without the axis ``head``.

    Returns
    -------
    flow : xarray.DataArray
        Share that each token of the first layer, and each summary token, as ``key`` has in each token of
        the last, as ``query``; over ``key``, shares sum to one.

    Raises
    ------
    ValueError
        If layers are missing, or if maps have no queries.

    Notes
    -----
    It is an account of attention only: feed-forward networks, norms and the sizes of values do not count,
    nor do the global convolutions that relate tokens in CodeBrain.

    References
    ----------
    Abnar and Zuidema (2020), Quantifying attention flow in transformers, ACL, section 3.
    """
    if not maps or sorted(maps) != list(range(len(maps))):
        raise ValueError(
            f"Rollout needs the maps of all layers from 0 on, got those of {sorted(maps)}. "
            "Leave layers out when you ask for attention_maps."
        )
    flow: xr.DataArray | None = None
    for layer in sorted(maps):
        attention = maps[layer]
        if "query" not in attention.dims:
            raise ValueError(
                "Rollout follows tokens that look at tokens, and these maps have no axis query. "
                "FBLightConvNet has one map only, which needs no rollout."
            )
        if "head" in attention.dims:
            attention = attention.mean("head", keep_attrs=True)
        mixed = half_oneself(attention.transpose(..., "query", "key"))
        flow = mixed if flow is None else multiply(mixed, let_join(flow, mixed))
    return flow.drop_vars("layer", errors="ignore").rename("rollout")


def half_oneself(attention: xr.DataArray) -> xr.DataArray:
    """Count the residual connection: half of a token is what it was."""
    own = attention["query"].values[:, None] == attention["key"].values  # (n_queries, n_keys)
    return attention.copy(data=(attention.values + own.astype(attention.dtype)) / 2)


def let_join(flow: xr.DataArray, attention: xr.DataArray) -> xr.DataArray:
    """Let the keys of a map join that are not in the flow yet; each is its own and only source."""
    names, queries, keys = (labels.values for labels in (attention["key"], flow["query"], flow["key"]))
    new = [name for name in names if name not in set(queries)]
    if not new:
        return flow.sel(query=names)
    joined = np.zeros((*flow.shape[:-2], len(names), len(new) + len(keys)), flow.dtype)
    rows = {name: row for row, name in enumerate(names)}
    joined[..., [rows[name] for name in queries], len(new) :] = flow.values
    joined[..., [rows[name] for name in new], range(len(new))] = 1
    sources = attention["key"].sel(key=[*new, *keys]).coords
    return xr.DataArray(
        joined, {name: sources[name] for name in sources if "key" in sources[name].dims}, flow.dims
    )


def multiply(mixed: xr.DataArray, flow: xr.DataArray) -> xr.DataArray:
    """Let the last layer's queries read from what its keys are made of."""
    product = mixed.values @ flow.values  # (..., n_queries, n_sources)
    labels = {name: mixed[name] for name in mixed.coords if "key" not in mixed[name].dims}
    labels |= {name: flow[name] for name in flow.coords if "key" in flow[name].dims}
    return xr.DataArray(product, labels, mixed.dims, attrs=mixed.attrs)


def token_places(attention: xr.DataArray, axis: str, place: str) -> Shaped[np.ndarray, " n_tokens"]:
    """Look up the channel or the time of every token of an axis."""
    name = f"{axis}_{place}"
    if name not in attention.coords:
        remedy = "Its moments are the times." if "moment" in attention.dims else "Choose other maps."
        raise ValueError(f"The tokens of this map have no {place} of their own as {axis}. {remedy}")
    return attention[name].values


def electrode_positions(channels: Shaped[np.ndarray, " n_tokens"]) -> Float[np.ndarray, "n_tokens 3"]:
    """Find electrodes on the head, in centimetres; summary tokens are nowhere."""
    electrodes = {name: electrode_name(name) for name in channels if name}
    unknown = [name for name, electrode in electrodes.items() if electrode is None]
    if unknown:
        raise ValueError(
            f"Distances need electrodes of the 10-05 system, got {', '.join(unknown)}. "
            "Rename these channels, or leave them out."
        )
    positions = montage().get_positions()["ch_pos"]
    nowhere = np.full(3, np.nan)
    return np.stack([positions[electrodes[name]] * 100 if name else nowhere for name in channels])


def shannon(weights: Float[np.ndarray, "*dims"], axis: int = -1) -> Float[np.ndarray, "*rest"]:
    """Entropy in nats; nothing has no share in it."""
    logarithms = np.log(weights, where=weights > 0, out=np.zeros_like(weights))
    return -(weights * logarithms).sum(axis=axis)
