// Compiled before the tests, for all of them.
#include "reference.hpp"
