-- The keys of a space, and what is there now of a key.
local kv, ke, ki = KEYS[1], KEYS[2], KEYS[3]
local function current(key)
  local ends = call('ZSCORE', ke, key)
  if ends and tonumber(ends) <= now then return false end
  return call('HGET', kv, key)
end
