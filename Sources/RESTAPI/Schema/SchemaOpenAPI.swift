import ControlProtocol

extension Schema {
  /// The JSON Schema (2020-12, as OpenAPI 3.1 has it); named shapes become references and are put into `components`.
  func openAPI(components: inout [String: JSONValue]) -> JSONValue {
    switch self {
    case .boolean: return ["type": "boolean"]
    case .number: return ["type": "number"]
    case .any: return [:]
    case .integer(let range):
      var members: [String: JSONValue] = ["type": "integer", "minimum": .integer(range.lowerBound)]
      if range.upperBound != Int64.max { members["maximum"] = .integer(range.upperBound) }
      return .object(members)
    case .string(let shape): return shape.openAPI
    case .array(let element, let max, let min):
      var members: [String: JSONValue] = ["type": "array", "items": element.openAPI(components: &components)]
      if max != Int.max { members["maxItems"] = .count(max) }
      if min > 0 { members["minItems"] = .count(min) }
      return .object(members)
    case .negatableArray(let element, let max):
      let array = Schema.array(element, max: max)
      let negated = Schema.strictObject([.required("not", array)])
      return ["oneOf": [array.openAPI(components: &components), negated.openAPI(components: &components)]]
    case .object(let fields): return Self.openAPI(fields: fields, components: &components)
    case .strictObject(let fields):
      guard case .object(var members) = Self.openAPI(fields: fields, components: &components) else { return .null }
      members["additionalProperties"] = false
      return .object(members)
    case .map(let values, let keys):
      var members: [String: JSONValue] = [
        "type": "object", "additionalProperties": values.openAPI(components: &components),
      ]
      if let keys { members["propertyNames"] = ["enum": .strings(keys)] }
      return .object(members)
    case .nullable(let inner):
      return ["anyOf": [inner.openAPI(components: &components), ["type": "null"]]]
    case .named(let name, let inner):
      if components[name] == nil {
        components[name] = .null  // a shape that contains itself ends here
        components[name] = inner.openAPI(components: &components)
      }
      return ["$ref": .string("#/components/schemas/\(name)")]
    }
  }

  private static func openAPI(fields: [Field], components: inout [String: JSONValue]) -> JSONValue {
    var properties: [String: JSONValue] = [:]
    for field in fields {
      var schema = field.schema.openAPI(components: &components)
      if field.fallback != nil || field.note != nil, case .object(var members) = schema {
        if let fallback = field.fallback { members["default"] = fallback }
        if let note = field.note { members["description"] = .string(note) }
        schema = .object(members)
      }
      properties[field.name] = schema
    }
    var members: [String: JSONValue] = ["type": "object", "properties": .object(properties)]
    let required = fields.filter(\.isRequired).map(\.name)
    if !required.isEmpty { members["required"] = .strings(required) }
    return .object(members)
  }
}

extension StringShape {
  fileprivate var openAPI: JSONValue {
    var members: [String: JSONValue] = ["type": "string"]
    if let words { members["enum"] = .strings(words) }
    if let length = characters ?? bytes {
      members["maxLength"] = .count(length.upperBound)
      if length.lowerBound > 0 { members["minLength"] = .count(length.lowerBound) }
    }
    if let pattern { members["pattern"] = .string(pattern) }
    if let format { members["format"] = .string(format) }
    if isSecret { members["writeOnly"] = true }
    return .object(members)
  }
}
