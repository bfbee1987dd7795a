"""The gas of the MIGDAL chamber: CF4 at 50 Torr and 20 C, density = pressure x molar mass / (R T)."""

import numpy as np

DENSITY = 2.407e-4  # g / cm3
MOLECULES = 1.647e18  # per cm3
ATOMIC_NUMBER = np.array([6.0, 9.0])  # carbon is index 0, fluorine index 1, here and below
ATOMIC_MASS = np.array([12.011, 18.998])  # u
ATOMS_PER_MOLECULE = np.array([1.0, 4.0])
MASS_FRACTION = np.array([0.1365, 0.8635])
ELECTRONS_PER_MASS = 0.4772  # Z / A of CF4, mol / g
