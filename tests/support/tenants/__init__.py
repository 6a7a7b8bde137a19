"""A project in which each tenant has a schema, with an app `shop`; dispatch is a tenant's own, or shared by all."""
