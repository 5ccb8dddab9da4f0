"""From a credential to a principal: access tokens, key files, assertions, policies."""
