-- What is wrong with a request: field -> rule, in the order found.

local Problems = {}
Problems.__index = Problems

function Problems.new()
  return setmetatable({ fields = {}, rules = {} }, Problems)
end

function Problems:add(field, rule)
  if not self.rules[field] then self.fields[#self.fields + 1] = field end
  self.rules[field] = rule
end

function Problems:any()
  return #self.fields > 0
end

return Problems
