"""Whether what gv may fill and take has room in its pods."""

import tomllib
from pathlib import Path

from engine import refused
from renderings import DEFAULT, MANAGED, SMALL, Rendering, check, merged, values_file


def mib(quantity):
    units = {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}
    return int(quantity[:-2]) * units[quantity[-2:]]


@check
def shipped_sizes_fit(all_of):
    """with the values as they are shipped, what a worker may fill and take fits, and a build has the room that one needs"""
    defaults = tomllib.loads(Path("config/gv.toml").read_text())
    for name, values in [("default", DEFAULT), ("small", SMALL), ("managed", MANAGED)]:
        values = merged(values_file("values.yaml"), values)
        config, worker = merged(defaults, values["config"]), values["worker"]
        each, builds = config["limits"], config["worker"]["concurrency"]
        fills = config["worker"]["caches_mb"] + config["worker"]["tools_mb"]
        fills += builds * (each["workspace_mb"] + config["source"]["max_mb"])
        assert fills <= mib(worker["dataVolume"]["size"]), f"{name}: a worker may fill {fills} MiB"
        takes = builds * each["build_memory_mb"] + 512
        assert takes <= mib(worker["resources"]["limits"]["memory"]), f"{name}: a worker may take {takes} MiB"
        assert each["workspace_mb"] >= config["source"]["max_mb"] + each["output_mb"], name
        assert config["worker"]["caches_mb"] >= config["worker"]["cache_mb"], name


@check
def no_room(all_of):
    """what does not fit into a volume or into memory is refused, with the keys that make it up; to the MiB"""
    defaults = tomllib.loads(Path("config/gv.toml").read_text())
    # As config/gv.toml has them.
    unsaid = {"config": {"worker": {"caches_mb": None, "tools_mb": None}, "limits": {"workspace_mb": None, "build_memory_mb": None}}}
    worker, limits = defaults["worker"], defaults["limits"]
    fills = worker["caches_mb"] + worker["tools_mb"] + worker["concurrency"] * (limits["workspace_mb"] + defaults["source"]["max_mb"])
    takes = worker["concurrency"] * limits["build_memory_mb"] + 512

    def sized(volume, memory):
        return merged(DEFAULT, unsaid, {"worker": {"dataVolume": {"size": volume}, "resources": {"limits": {"memory": memory}}}})

    for volume, memory in [(f"{fills}Mi", f"{takes}Mi"), ("1Ti", takes * 1024 * 1024), ("40G", "9.2G"), (str(fills << 20), "10Gi")]:
        Rendering("just", sized(volume, memory))
    refused(sized(f"{fills - 1}Mi", f"{takes - 1}Mi"),
            f"worker.dataVolume.size: {fills - 1}Mi is less than the {fills} MiB", f"config.worker.caches_mb {worker['caches_mb']}",
            f"config.worker.tools_mb {worker['tools_mb']}", f"config.worker.concurrency {worker['concurrency']} x",
            f"config.limits.workspace_mb {limits['workspace_mb']} + config.source.max_mb {defaults['source']['max_mb']}",
            f"worker.resources.limits.memory: {takes - 1}Mi is less than the {takes} MiB",
            f"config.limits.build_memory_mb {limits['build_memory_mb']}")
    refused(sized(str((fills << 20) - 1), (takes << 20) - 1),
            "worker.dataVolume.size:", "worker.resources.limits.memory:")
    refused(merged(DEFAULT, {"config": {"worker": {"concurrency": 50}}}), "worker.dataVolume.size:", "worker.resources.limits.memory:")
    refused(merged(SMALL, {"worker": {"dataVolume": {"size": "9000M"}}}), "worker.dataVolume.size: 9000M")
    # Nothing kept takes no room; nor does what is on another volume.
    little = {"dataVolume": {"size": "12Gi"}}
    Rendering("little", merged(DEFAULT, {"config": {"worker": {"caches_mb": 0, "tools_mb": 0}}, "worker": little}))
    Rendering("elsewhere", merged(DEFAULT, {"worker": little | {
        "extraVolumes": [{"name": "more", "persistentVolumeClaim": {"claimName": "more"}}], "extraVolumeMounts": [
            {"name": "more", "mountPath": f"/var/lib/gv/{folder}", "subPath": folder} for folder in ["caches", "tools"]]}}))


@check
def room_for_pages(all_of):
    """an edge's folder for pages is on a volume that has room for it"""
    def folder(path, mb, **edge):
        return merged(DEFAULT, {"config": {"edge": {"disk_dir": path} | ({"disk_mb": mb} if mb else {})}, "edge": edge})

    refused(folder("/var/lib/gv/pages", None),
            "edge.dataVolume.size: 64Mi is less than the 10752 MiB", "config.edge.disk_mb 10240 + config.edge.memory_mb 512")
    Rendering("just", folder("/var/lib/gv/pages", 1536, dataVolume={"size": "2Gi"}))
    refused(folder("/var/lib/gv/pages", 1537, dataVolume={"size": "2Gi"}), "edge.dataVolume.size: 2Gi")
    for nowhere in ["/pages", "/tmp/pages", "/var/lib/gvx/pages"]:
        refused(folder(nowhere, 1536), f"config.edge.disk_dir: {nowhere} is on no volume")
    nvme = {"extraVolumes": [{"name": "nvme", "ephemeral": {"volumeClaimTemplate": {"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "100Gi"}}}}}}],
        "extraVolumeMounts": [{"name": "nvme", "mountPath": "/pages/"}]}
    Rendering("of its own", folder("/pages", 90_000, **nvme))
