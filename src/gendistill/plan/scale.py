"""The scale of a study: `full`, or one that shrinks it so that every kind of step runs in minutes (`config/scale/`)."""

from gendistill.plan.settings import Settings, load_group

# Epochs: fewer could not stop distilling early, or cut a rate.
SHORTEST = 2


def scaled(group: str, settings: Settings, scale: Settings, use: str = "training") -> Settings:
    """A member of a settings group at a scale; `full` leaves it alone.

    Other scales put an embedded data set of the same medium in its place, and make networks smaller and recipes shorter.

    Args:
        group: the settings group.
        settings: the resolved member.
        scale: the settings `scale`.
        use: of a data set: `training` or `transfer`.
    """
    if scale["name"] == "full" or group == "objective":
        return settings
    change = scale[group]
    if group == "network":
        return {**settings, **change.get(settings["name"], {})}
    medium = settings.get("medium", "images")
    if group == "dataset":
        own = change[medium if use == "training" else use]
        return {**load_group("dataset", own["name"]), **own}
    own = dict(change[medium])
    divisor = own.pop("epochs_divided_by")
    return {**settings, **own, "epochs": max(SHORTEST, round(settings["epochs"] / divisor))}
