"""The scale of a study: `full`, or one that shrinks it so that every kind of step runs in minutes (`config/scale/`)."""

from gendistill.errors import SettingError
from gendistill.plan.settings import Settings, load_group

# Epochs: fewer could not stop distilling early, or cut a rate.
SHORTEST = 2


def scaled(group: str, settings: Settings, scale: Settings, use: str = "training") -> Settings:
    """A member of a settings group at a scale; `full` leaves it alone.

    Other scales put an embedded data set in its place (its own line in the scale's file, or that of its medium), and make
    networks smaller and recipes shorter. What the scale sets goes before what the study, or an override, sets.

    Args:
        group: the settings group.
        settings: the resolved member.
        scale: the settings `scale`.
        use: of a data set: `training` or `transfer`.

    Raises:
        SettingError: the scale has no line for a network.
    """
    # The networks of a joint one are made smaller each for itself.
    if scale["name"] == "full" or group == "objective" or "networks" in settings:
        return settings
    change = scale[group]
    if group == "network":
        if settings["name"] not in change:
            raise SettingError(
                f"network = {settings['name']}: scale {scale['name']} does not say how to shrink it. Add a line to `network` in "
                f"config/scale/{scale['name']}.yaml."
            )
        return {**settings, **change[settings["name"]]}
    medium = settings.get("medium", "images")
    if group == "dataset":
        own = change.get(settings["name"]) or change[medium if use == "training" else use]
        return {**load_group("dataset", own["name"]), **own}
    own = dict(change[medium])
    divisor = own.pop("epochs_divided_by")
    return {**settings, **own, "epochs": max(SHORTEST, round(settings["epochs"] / divisor))}
