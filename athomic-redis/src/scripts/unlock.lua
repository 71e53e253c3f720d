-- Locks that are given up. ARGV: time, tokens. KEYS: one for each token. Returns 1 for each that was held.
local out = {}
for index, key in ipairs(KEYS) do
  local kind, holder = look(key)
  local held = kind == 'L' and holder == ARGV[index + 1]
  if held then call('DEL', key) end
  out[index] = held and 1 or 0
end
return out
