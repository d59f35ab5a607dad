"""What a plan costs: time, memory and storage of each step, predicted from counts and a calibration of the device."""
