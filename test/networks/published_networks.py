"""E2VID, FireNet, PIE-Net, SPADE-E2VID and CISTA-LSTC a second time, as plain functions of published keys and shapes.

`*_shapes` lists the keys that the published checkpoints have; `*_step` is one step of the network in torch functions
alone. Neither knows the package.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def conv(w, key, x, stride=1, mode="constant"):
    weight = w[f"{key}.weight"]
    p = weight.shape[-1] // 2
    return F.conv2d(F.pad(x, (p, p, p, p), mode=mode), weight, w.get(f"{key}.bias"), stride)


def norm(w, key, x):
    if f"{key}.running_mean" not in w:
        return x
    return F.batch_norm(
        x, w[f"{key}.running_mean"], w[f"{key}.running_var"], w.get(f"{key}.weight"), w.get(f"{key}.bias")
    )


def lstm(w, key, x, state, mode="constant"):
    hidden, cell = state if state else (torch.zeros_like(x), torch.zeros_like(x))
    i, f, o, g = conv(w, key, torch.cat((x, hidden), 1), mode=mode).chunk(4, 1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def conv_shapes(key, outputs, inputs, kernel, bias=True):
    shapes = {f"{key}.weight": (outputs, inputs, kernel, kernel)}
    return {**shapes, f"{key}.bias": (outputs,)} if bias else shapes


def norm_shapes(key, channels, affine=True):
    names = ["running_mean", "running_var", *(["weight", "bias"] if affine else [])]
    return {**{f"{key}.{name}": (channels,) for name in names}, f"{key}.num_batches_tracked": ()}


def e2vid_shapes(bn=True, transposed=True, c=32):
    u, s = "unetrecurrent", conv_shapes("unetrecurrent.head.conv2d", c, 5, 5)
    for i in range(3):
        few, many = c * 2**i, c * 2 ** (i + 1)
        e = f"{u}.encoders.{i}"
        s |= conv_shapes(f"{e}.conv.conv2d", many, few, 5, not bn)
        s |= norm_shapes(f"{e}.conv.norm_layer", many) if bn else {}
        s |= conv_shapes(f"{e}.recurrent_block.Gates", 4 * many, 2 * many, 3)
        d, many, few = f"{u}.decoders.{i}", c * 2 ** (3 - i), c * 2 ** (2 - i)
        if transposed:
            s[f"{d}.transposed_conv2d.weight"] = (many, few, 5, 5)
            s |= {} if bn else {f"{d}.transposed_conv2d.bias": (few,)}
        else:
            s |= conv_shapes(f"{d}.conv2d", few, many, 5, not bn)
        s |= norm_shapes(f"{d}.norm_layer", few) if bn else {}
    for i in range(2):
        for j in (1, 2):
            s |= conv_shapes(f"{u}.resblocks.{i}.conv{j}", 8 * c, 8 * c, 3, not bn)
            s |= norm_shapes(f"{u}.resblocks.{i}.bn{j}", 8 * c) if bn else {}
    return s | conv_shapes(f"{u}.pred.conv2d", 1, c, 1, not bn) | (norm_shapes(f"{u}.pred.norm_layer", 1) if bn else {})


def e2vid_step(w, x, states):
    """x of a size that needs no padding."""
    u = "unetrecurrent"
    head = x = conv(w, f"{u}.head.conv2d", x).relu()
    skips, after = [], []
    for i in range(3):
        e = f"{u}.encoders.{i}"
        x = norm(w, f"{e}.conv.norm_layer", conv(w, f"{e}.conv.conv2d", x, 2)).relu()
        after.append(lstm(w, f"{e}.recurrent_block.Gates", x, states and states[i]))
        x = after[-1][0]
        skips.append(x)
    for i in range(2):
        r = f"{u}.resblocks.{i}"
        y = norm(w, f"{r}.bn1", conv(w, f"{r}.conv1", x)).relu()
        x = (norm(w, f"{r}.bn2", conv(w, f"{r}.conv2", y)) + x).relu()
    for i in range(3):
        d = f"{u}.decoders.{i}"
        x = x + skips[2 - i]
        if f"{d}.transposed_conv2d.weight" in w:
            t = f"{d}.transposed_conv2d"
            x = F.conv_transpose2d(x, w[f"{t}.weight"], w.get(f"{t}.bias"), 2, 2, 1)
        else:
            x = conv(w, f"{d}.conv2d", F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        x = norm(w, f"{d}.norm_layer", x).relu()
    return norm(w, f"{u}.pred.norm_layer", conv(w, f"{u}.pred.conv2d", x + head)).sigmoid(), after


def firenet_shapes(c=16):
    s = conv_shapes("net.head.conv.conv2d", c, 5, 3)
    for key in ("net.head", "net.resblocks.0"):
        for gate in ("reset", "update", "out"):
            s |= conv_shapes(f"{key}.recurrent_block.{gate}_gate", c, 2 * c, 3)
    for key in ("net.resblocks.0.conv", "net.resblocks.1"):
        s |= conv_shapes(f"{key}.conv1", c, c, 3) | conv_shapes(f"{key}.conv2", c, c, 3)
    return s | conv_shapes("net.pred.conv2d", 1, c, 1)


def firenet_step(w, x, states):
    def gru(key, x, h):
        h = torch.zeros_like(x) if h is None else h
        update = conv(w, f"{key}.update_gate", torch.cat((x, h), 1)).sigmoid()
        reset = conv(w, f"{key}.reset_gate", torch.cat((x, h), 1)).sigmoid()
        return h * (1 - update) + conv(w, f"{key}.out_gate", torch.cat((x, h * reset), 1)).tanh() * update

    def block(key, x):
        return (conv(w, f"{key}.conv2", conv(w, f"{key}.conv1", x).relu()) + x).relu()

    before = states or (None, None)
    first = gru("net.head.recurrent_block", conv(w, "net.head.conv.conv2d", x).relu(), before[0])
    second = gru("net.resblocks.0.recurrent_block", block("net.resblocks.0.conv", first), before[1])
    return conv(w, "net.pred.conv2d", block("net.resblocks.1", second)), (first, second)


def spade_shapes(c=32):
    s = conv_shapes("fc", c, 5, 5)
    for name, few, many in (("rec0", c, 2 * c), ("rec1", 2 * c, 4 * c), ("rec2", 4 * c, 8 * c), ("up2", 2 * c, c)):
        s |= conv_shapes(f"{name}.conv0", many, few, 5, bias=False) | norm_shapes(f"{name}.bn", many)
        s |= conv_shapes(f"{name}.recurrent_block.Gates", 4 * many, 2 * many, 3)
    for name in ("res0", "res1"):
        for j in (1, 2):
            s |= conv_shapes(f"{name}.conv{j}", 8 * c, 8 * c, 3, bias=False) | norm_shapes(f"{name}.bn{j}", 8 * c)
    for name, many, few in (("up0", 8 * c, 4 * c), ("up1", 4 * c, 2 * c)):
        s |= conv_shapes(f"{name}.conv0", 4 * few, many, 3, bias=False)
        s |= norm_shapes(f"{name}.norm.param_free_norm", few, affine=False)
        s |= conv_shapes(f"{name}.norm.mlp_shared.0", 64, 3, 3)
        s |= conv_shapes(f"{name}.norm.mlp_gamma", few, 64, 3) | conv_shapes(f"{name}.norm.mlp_beta", few, 64, 3)
    return s | conv_shapes("conv_img", 3, c, 1) | norm_shapes("bn_img", 3)


def spade_step(w, x, state):
    if state is None:
        x = x.clone()
        picture = x[:, :3]  # a view: what is done to it is done to the grid
        picture -= picture.min()
        picture /= picture.max()
        states = [None] * 4
    else:
        picture, states = state

    def recurrent(key, x, stride, state):
        return lstm(
            w, f"{key}.recurrent_block.Gates", norm(w, f"{key}.bn", conv(w, f"{key}.conv0", x, stride)).relu(), state
        )

    def up(key, x):
        x = norm(w, f"{key}.norm.param_free_norm", F.pixel_shuffle(conv(w, f"{key}.conv0", x), 2))
        read = conv(w, f"{key}.norm.mlp_shared.0", F.interpolate(picture, x.shape[-2:])).relu()
        return (x * (1 + conv(w, f"{key}.norm.mlp_gamma", read)) + conv(w, f"{key}.norm.mlp_beta", read)).relu()

    head = conv(w, "fc", x).relu()
    s0 = recurrent("rec0", head, 1, states[0])
    s1 = recurrent("rec1", s0[0], 2, states[1])
    s2 = recurrent("rec2", s1[0], 2, states[2])
    y = s2[0]
    for key in ("res0", "res1"):
        inner = norm(w, f"{key}.bn1", conv(w, f"{key}.conv1", y)).relu()
        y = (norm(w, f"{key}.bn2", conv(w, f"{key}.conv2", inner)) + y).relu()
    y = up("up0", y + s2[0])
    y = up("up1", y + s1[0])
    s3 = recurrent("up2", y + s0[0], 1, states[3])
    picture = norm(w, "bn_img", conv(w, "conv_img", (s3[0] + head).relu())).sigmoid()
    return picture.mean(1, keepdim=True), (picture, [s0, s1, s2, s3])


def lstc_shapes(c=64, iterations=5):
    h = c // 2
    s = conv_shapes("We.conv2d", h, 5, 3) | conv_shapes("Wi.conv2d", h, 1, 3) | conv_shapes("W0.conv2d", c, c, 3)
    s |= conv_shapes("P0.gates", 4 * c, 3 * c, 3) | conv_shapes("P0.out_gates", 2 * c, 4 * c, 3)
    s |= conv_shapes("P0.P0", 2 * c, c, 3)
    for k in range(iterations):
        b = f"lista_blocks.{k}"
        s |= {f"{b}.Lambda": (1, 2 * c, 1, 1)} | conv_shapes(f"{b}.D.conv2d", c, 2 * c, 3)
        s |= conv_shapes(f"{b}.P.conv2d", 2 * c, c, 3)
    s |= conv_shapes("Dg.conv.conv2d", c, 2 * c, 3) | conv_shapes("Dg.recurrent_block.Gates", 4 * c, 2 * c, 3)
    return s | conv_shapes("upsamp_conv.conv2d", c, c, 3) | conv_shapes("final_conv.conv2d", 1, c, 3)


def lstc_step(w, x, state):
    def reflect(key, x, stride=1):
        return conv(w, key, x, stride, "reflect")

    image, z, cell, memory = state or (torch.zeros_like(x[:, :1]), None, None, None)
    x1 = reflect("W0.conv2d", torch.cat((reflect("We.conv2d", x), reflect("Wi.conv2d", image)), 1), 2)
    guess = reflect("P0.P0", x1)
    z = torch.zeros_like(guess) if z is None else z
    cell = torch.zeros_like(guess) if cell is None else cell
    i, f = reflect("P0.gates", torch.cat((x1, z), 1)).sigmoid().chunk(2, 1)
    o = reflect("P0.out_gates", torch.cat((guess, z), 1)).sigmoid()
    cell = f * cell + i * guess
    z = o * cell.tanh()
    for k in range(5):
        b = f"lista_blocks.{k}"
        v = z + reflect(f"{b}.P.conv2d", x1 - reflect(f"{b}.D.conv2d", z))
        theta = w[f"{b}.Lambda"]
        z = (v - theta).relu() - (-v - theta).relu()
    memory = lstm(w, "Dg.recurrent_block.Gates", reflect("Dg.conv.conv2d", z).relu(), memory, "reflect")
    y = F.interpolate(memory[0], scale_factor=2, mode="bilinear", align_corners=False)
    image = reflect("final_conv.conv2d", reflect("upsamp_conv.conv2d", y).relu()).sigmoid()
    return image, (image, z, cell, memory)


def firenet_plus_shapes(c=16):
    names = {"net.head.conv.": "head.", "net.head.recurrent_block.": "G1.", "net.resblocks.0.conv.": "R1."}
    names |= {"net.resblocks.0.recurrent_block.": "G2.", "net.resblocks.1.": "R2.", "net.pred.": "pred."}
    shapes = {}
    for key, shape in firenet_shapes(c).items():
        (old,) = (name for name in names if key.startswith(name))
        shapes[key.replace(old, names[old], 1)] = shape
    return shapes


def firenet_plus_step(w, x, states):
    plain = dict(zip(firenet_shapes(), (w[key] for key in firenet_plus_shapes()), strict=True))
    return firenet_step(plain, x, states)


PIE_NET = {3: ((8, 16, 24, 32), (2, 2, 5)), 2: ((12, 16, 24), (2, 2))}  # channels and pools by number of encoders


def pie_net_shapes(encoders=3):
    def block(key, outputs, inputs, kernel=3):
        return conv_shapes(f"{key}.convna.0", outputs, inputs, kernel) | {
            f"{key}.convna.1.{name}": (outputs,) for name in ("weight", "bias")
        }

    c, _ = PIE_NET[encoders]
    s = block("model.stem.event_branch.mbconv", c[0], 5) | block("model.stem.frame_branch.mbconv", c[0], 1)
    for i in range(encoders):
        d, both, out = f"model.downs.{i}", c[i] + c[i + 1], c[i + 1]
        gates = f"{d}.mbd.Gates.mbconv"
        s |= block(f"{gates}.0", 2 * both, both) | conv_shapes(f"{gates}.1.fc1", both // 4, 2 * both, 1, bias=False)
        s |= conv_shapes(f"{gates}.1.fc2", 2 * both, both // 4, 1, bias=False) | block(
            f"{gates}.2", 4 * out, 2 * both, 1
        )
        s |= {f"{d}.mbd.norm_{x}.{name}": (out,) for x in "hc" for name in ("weight", "bias")}
        s |= block(f"{d}.out.mbconv_0.mbconv", out, out)  # which the larger network does not use
        s |= conv_shapes(f"{d}.film.film", 2 * out, 2 * c[0], 1)
        u = f"model.ups.{encoders - 1 - i}"
        s |= block(f"{u}.fuse.0.mbconv", c[i], 2 * out) | conv_shapes(f"{u}.ugate.gate_conv", out, 1, 1)
    return s | conv_shapes("model.outc", 3, c[0], 1) | block("cal_k.mbconv", 1, 3)


def pie_net_step(w, x, state):
    encoders = len({key.split(".")[2] for key in w if key.startswith("model.downs.")})
    _, pools = PIE_NET[encoders]

    def normed(key, x, groups=1):
        return F.group_norm(x, groups, w[f"{key}.weight"], w[f"{key}.bias"])

    def block(key, x, silu=True):
        y = normed(f"{key}.convna.1", conv(w, f"{key}.convna.0", x))
        return F.silu(y) if silu else y

    def resized(x, size):
        return F.interpolate(x, size, mode="bilinear", align_corners=True)

    image, states, variance = state or (torch.zeros_like(x[:, :1]), None, None)
    e, f = block("model.stem.event_branch.mbconv", x), block("model.stem.frame_branch.mbconv", image)
    described = torch.cat((F.adaptive_avg_pool2d(e, 1), F.adaptive_avg_pool2d(f, 1)), 1)
    y, skips, after = e + f, [], []
    for i in range(encoders):
        d = f"model.downs.{i}"
        out = w[f"{d}.mbd.norm_h.weight"].shape[0]
        h, c = states[i] if states else 2 * (torch.zeros(len(y), out, *y.shape[-2:]),)
        g = block(f"{d}.mbd.Gates.mbconv.0", torch.cat((y, h), 1))
        squeezed = conv(w, f"{d}.mbd.Gates.mbconv.1.fc1", F.adaptive_avg_pool2d(g, 1)).relu()
        g = g * conv(w, f"{d}.mbd.Gates.mbconv.1.fc2", squeezed).sigmoid()
        r, k, o, new = block(f"{d}.mbd.Gates.mbconv.2", g, silu=False).split(out, 1)
        c = normed(f"{d}.mbd.norm_c", k.sigmoid() * c + r.sigmoid() * new.tanh(), 4)
        h = normed(f"{d}.mbd.norm_h", o.sigmoid() * c.tanh(), 4)
        after.append((h, c))
        y = h + block(f"{d}.out.mbconv_0.mbconv", h) if encoders == 2 else h
        gain, shift = conv(w, f"{d}.film.film", described).split(out, 1)
        skips.append(y * (1 + gain) + shift)
        y = F.max_pool2d(skips[-1], pools[i])
    for j in range(encoders):
        skip, scale = skips[-1 - j], pools[-1 - j]
        y = resized(y, [scale * n for n in y.shape[-2:]])
        missing = [a - b for a, b in zip(skip.shape[-2:], y.shape[-2:], strict=True)]
        y = F.pad(y, [n for m in reversed(missing) for n in (m // 2, m - m // 2)])
        if variance is not None:
            skip = skip * conv(w, f"model.ups.{j}.ugate.gate_conv", resized(variance, skip.shape[-2:])).sigmoid()
        y = block(f"model.ups.{j}.fuse.0.mbconv", torch.cat((skip, y), 1))
    features = conv(w, "model.outc", y)
    k = block("cal_k.mbconv", features).relu()
    ratio, spread, before = (features[:, i : i + 1].relu() for i in range(3))
    image = ((before + k) * ratio - k).clamp(0, 1)
    return image, (image, after, (before + k) ** 2 * spread)


def random_weights(shapes, seed=0):
    """Weights that neither blow up nor die, and statistics as of a trained batch normalisation."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        if key.endswith("num_batches_tracked"):
            value = torch.tensor(7)
        elif key.endswith("running_var"):
            value = value.abs() + 0.5
        elif len(shape) == 4:
            value = value / (shape[1] * shape[2] * shape[3]) ** 0.5
        weights[key] = value
    if "model.outc.bias" in weights:  # PIE-Net: images that are neither black nor white
        weights["model.outc.bias"] = torch.tensor([0.5, 0.5, 0.5])
        weights["model.outc.weight"] *= 0.2
    for k in range(1, 5):  # CISTA's blocks are tied
        for key in [key for key in weights if key.startswith(f"lista_blocks.{k}.")]:
            weights[key] = weights[key.replace(f".{k}.", ".0.", 1)]
    return weights
