-- The next expected sequences.
--
-- ARGV: time; then for each bucket the number of elements.
-- KEYS: of each element a.
-- Returns a sequence or '' for each element.
local out = {}
for key = 1, #KEYS do
  local state = call('HMGET', KEYS[key], 'x', 'z')
  local ends = tonumber(state[2] or nil)
  out[key] = (not ends or ends > now) and state[1] or ''
end
return out
