"""What people come to do: publish, administer, grant, make accounts."""
