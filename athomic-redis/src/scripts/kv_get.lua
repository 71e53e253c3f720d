-- ARGV: time, keys. Returns for each the value behind a `=`, or nothing.
local out = {}
for arg = 2, #ARGV do
  local value = current(ARGV[arg])
  out[#out + 1] = value and '=' .. value or ''
end
return out
