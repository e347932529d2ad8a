"""All SQL of the publishing platform."""
