"""The smallest chain with a search section."""

SEARCHED = """
    name: tiny
    data: {name: digits, image_size: 8}
    target: {isa: x86-avx2, threads: 1}
    stages:
      - {stage: teacher, model: "tests.tiny:own_network", epochs: 3, batch_size: 256}
      - {stage: prune, pruning_ratio: 0.5}
      - {stage: distill, epochs: 2, batch_size: 256}
      - {stage: ptq, calibration_images: 64}
      - {stage: export, models: [teacher, ptq]}
    budget: {accuracy_drop: 0.9}
    search:
      distill.temperature: [1, 8]
      ptq.weight_bits: {any: [null, 4]}
      prune.pruning_ratio: {any: [0.5, 0.7]}
"""
