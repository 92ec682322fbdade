"""The agents and what an owner of a partition does: decisions are pure, shells commit them."""
