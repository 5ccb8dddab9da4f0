"""What the tests are made of: builders, clients and fakes."""
