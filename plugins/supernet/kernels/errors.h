// Exceptions end here: Rust gets a text, or null where all is well.

#pragma once

#include <cstring>
#include <exception>

namespace pleach {

// The text is freed with `free`.
template <class Body> char *guarded(const Body &body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an exception without a text");
  }
}

} // namespace pleach
