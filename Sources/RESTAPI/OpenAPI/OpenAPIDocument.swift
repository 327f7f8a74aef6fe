import ControlProtocol
import Hummingbird
import Identity

/// The OpenAPI 3.1 document, written from the route table: what isn't in the one isn't in the other.
enum OpenAPIDocument {
  static func make(_ table: RouteTable, version: String) -> JSONValue {
    var components: [String: JSONValue] = [:]
    var paths: [String: [String: JSONValue]] = [:]
    components["Meta"] = meta.openAPI(components: &components)
    components["Error"] = error.openAPI(components: &components)
    for route in table.routes {
      paths[route.path, default: [:]][route.method.rawValue.lowercased()] = operation(route, &components)
    }
    return [
      "openapi": "3.1.0",
      "info": [
        "title": "Sluice", "version": .string(version),
        "description": "Rules for packets: nodes, attachments, rule sets, counters, captures.",
      ],
      "servers": [["url": "/"]],
      "paths": .object(paths.mapValues(JSONValue.object)),
      "components": [
        "schemas": .object(components),
        "securitySchemes": ["token": ["type": "http", "scheme": "bearer", "bearerFormat": "JWT"]],
      ],
      "tags": .array(Array(Set(table.routes.map(\.tag))).sorted().map { ["name": .string($0)] }),
    ]
  }

  private static let meta = Schema.object([
    .required("version", .string()), .required("timestamp", .timestamp), .required("request_id", .string()),
    .optional("warnings", .array(.string(), max: Int.max)), .optional("total", .count), .optional("limit", .count),
    .optional("offset", .count, "Absent where a cursor was sent"),
    .optional("next_cursor", .string(), "Of the next page; absent on the last one"),
    .optional("revision", .count, "Of the rule set; also in ETag, for If-Match"),
  ])

  private static let error = Schema.object([
    .required("code", .words(ErrorCode.allCases.map(\.rawValue))), .required("message", .string()),
  ])

  private static func operation(_ route: Route, _ components: inout [String: JSONValue]) -> JSONValue {
    var members: [String: JSONValue] = [
      "operationId": .string(route.operation), "summary": .string(route.summary), "tags": [.string(route.tag)],
      "responses": .object(responses(route, &components)),
    ]
    var parameters = route.pathParameters.map { name -> JSONValue in
      ["name": .string(name), "in": "path", "required": true, "schema": ["type": "string"]]
    }
    for field in route.query {
      var schema = field.schema.openAPI(components: &components)
      if let fallback = field.fallback, case .object(var inner) = schema {
        inner["default"] = fallback
        schema = .object(inner)
      }
      var parameter: [String: JSONValue] = [
        "name": .string(field.name), "in": "query", "required": .bool(field.isRequired), "schema": schema,
      ]
      if let note = field.note { parameter["description"] = .string(note) }
      if let example = field.example { parameter["example"] = .string(example) }
      parameters.append(.object(parameter))
    }
    parameters += headerParameters(route)
    if route.deprecation != nil { members["deprecated"] = true }
    if !parameters.isEmpty { members["parameters"] = .array(parameters) }
    if let body = route.body {
      var json: [String: JSONValue] = ["schema": body.openAPI(components: &components)]
      if let example = route.example { json["example"] = example }
      var content: [String: JSONValue] = ["application/json": .object(json)]
      if route.alsoTakesLines {
        content[LineBody.contentType] = ["schema": ["type": "string", "description": "An element in a line, # begins a comment"]]
      }
      members["requestBody"] = ["required": .bool(!route.bodyIsOptional), "content": .object(content)]
    }
    switch route.access {
    case .open: members["security"] = []
    case .signedIn: members["security"] = [["token": []]]
    case .scope(let scope):
      members["security"] = [["token": []]]
      members["x-required-scope"] = .string(scope.rawValue)
      // A role of a team, or for the resource itself, is enough where this names what the operation is about.
      if let word = route.subject.word { members["x-resource"] = .string(word) }
    }
    return .object(members)
  }

  private static func headerParameters(_ route: Route) -> [JSONValue] {
    var parameters: [JSONValue] = []
    if route.takesIdempotencyKey {
      parameters.append([
        "name": "Idempotency-Key", "in": "header", "required": false,
        "description": "Sent again with the same key within a day: the first answer again, and nothing done twice",
        "schema": [
          "type": "string", "minLength": .count(Idempotency.keyBytes.lowerBound),
          "maxLength": .count(Idempotency.keyBytes.upperBound), "pattern": .string(Idempotency.keyPattern),
        ],
      ])
    }
    if route.alsoStreams {
      parameters.append([
        "name": "Last-Event-ID", "in": "header", "required": false,
        "description": "Of a stream (Accept: text/event-stream): the event to go on behind",
        "schema": ["type": "integer", "minimum": 0],
      ])
    }
    if route.honoursIfMatch {
      parameters.append([
        "name": "If-Match", "in": "header", "required": false, "description": "The ETag that was read, or *",
        "schema": ["anyOf": [["const": "*"], ["type": "string", "pattern": .string(IfMatch.pattern)]]],
      ])
    }
    return parameters
  }

  private static func responses(_ route: Route, _ components: inout [String: JSONValue]) -> [String: JSONValue] {
    var responses: [String: JSONValue] = [:]
    switch route.answer {
    case .data(let schema): responses["200"] = success(schema.openAPI(components: &components))
    case .created(let schema): responses["201"] = success(schema.openAPI(components: &components))
    case .page(let schema, _):
      var listed = success(["type": "array", "items": schema.openAPI(components: &components)])
      let also = [(route.alsoStreams, EventRoutes.streamType), (route.alsoGivesLines, LineBody.contentType)]
      for (_, type) in also.filter(\.0) {
        guard case .object(var members) = listed, case .object(var content) = members["content"] else { continue }
        content[type] = ["schema": ["type": "string"]]
        members["content"] = .object(content)
        listed = .object(members)
      }
      responses["200"] = listed
    case .document: responses["200"] = ["description": "OK", "content": ["application/json": [:]]]
    case .text(let type):
      responses["200"] = ["description": "OK", "content": .object([type: ["schema": ["type": "string"]]])]
    }
    for (status, codes) in Dictionary(grouping: route.allErrors, by: \.status.code) {
      let lines = codes.map { "`\($0.rawValue)`: \($0.summary)" }
      responses[String(status)] = [
        "description": .string(lines.joined(separator: " ")),
        "content": ["application/json": ["schema": errorEnvelope]],
      ]
    }
    return responses
  }

  private static let metaReference: JSONValue = ["$ref": "#/components/schemas/Meta"]

  private static func success(_ data: JSONValue) -> JSONValue {
    [
      "description": "OK",
      "content": [
        "application/json": [
          "schema": [
            "type": "object", "required": ["status", "data", "meta"],
            "properties": ["status": ["const": "success"], "data": data, "meta": metaReference],
          ]
        ]
      ],
    ]
  }

  private static let errorEnvelope: JSONValue = [
    "type": "object", "required": ["status", "error", "meta"],
    "properties": [
      "status": ["const": "error"], "error": ["$ref": "#/components/schemas/Error"], "meta": metaReference,
    ],
  ]
}
