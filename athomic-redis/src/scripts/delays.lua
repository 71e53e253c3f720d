-- delays
-- The keys of a space (see `delay.rs`), and whether a token claimed an entry last.
local turns, frames, tokens = KEYS[1], KEYS[2], KEYS[3]
local function is_of(token, name)
  return call('HGET', tokens, name) == token
end
local function number(value) return string.format('%.0f', value) end
