"""Models of django-polymorphic, django-simple-history and django-safedelete whose bulk operations fire triggers."""
