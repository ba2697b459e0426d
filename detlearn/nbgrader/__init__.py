"""For instructors who grade by nbgrader: course.py writes a course, whose tests call strict.py."""
