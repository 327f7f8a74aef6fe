import ControlProtocol

/// The shape of a JSON value: requests are checked against it, and the OpenAPI document is written from it.
public indirect enum Schema: Sendable {
  case boolean
  case integer(ClosedRange<Int64>)
  case number
  case string(StringShape)
  case array(Schema, max: Int, min: Int = 0)
  /// An array, or an object with the only member `not` and that array.
  case negatableArray(Schema, max: Int)
  case object([Field])
  /// As `object`, but an unknown member is an error: where ignoring a misspelt one would change the meaning.
  case strictObject([Field])
  /// An object with free member names; `keys` nil means any name up to 64 bytes.
  case map(Schema, keys: [String]?)
  case nullable(Schema)
  /// Whatever JSON there is; for answers.
  case any
  /// A shape with a name of its own in the OpenAPI document.
  case named(String, Schema)

  /// One of a few words.
  public static func words(_ words: [String]) -> Schema { .string(StringShape(words: words)) }

  /// Free text of at most `max` bytes of UTF-8.
  public static func text(max: Int, min: Int = 0) -> Schema { .string(StringShape(bytes: min...max)) }

  /// A response's string: no check is made, `format` documents it.
  public static func string(format: String? = nil) -> Schema { .string(StringShape(format: format)) }

  /// A count of packets, bytes or things.
  public static let count = Schema.integer(0...Int64.max)

  /// A point in time, RFC 3339.
  public static let timestamp = Schema.string(format: "date-time")
}

/// What a string must be.
public struct StringShape: Sendable {
  /// Length in bytes of UTF-8; nil: unlimited, for responses only.
  public var bytes: ClosedRange<Int>?
  /// What the document says of the length, where it is counted in characters by another check; nil: the bytes.
  public var characters: ClosedRange<Int>?
  public var words: [String]?
  /// The same rule as `check`, for readers.
  public var pattern: String?
  public var format: String?
  /// Text of several lines.
  public var allowsLines: Bool
  /// Never given out again, never logged.
  public var isSecret: Bool
  /// Says what is wrong with a value, in a few words; nil where nothing is.
  public var check: (@Sendable (String) -> String?)?

  public init(
    bytes: ClosedRange<Int>? = nil, characters: ClosedRange<Int>? = nil, words: [String]? = nil, pattern: String? = nil, format: String? = nil,
    isSecret: Bool = false, allowsLines: Bool = false, check: (@Sendable (String) -> String?)? = nil
  ) {
    self.bytes = bytes
    self.characters = characters
    self.words = words
    self.pattern = pattern
    self.format = format
    self.isSecret = isSecret
    self.allowsLines = allowsLines
    self.check = check
  }
}

/// A member of an object.
public struct Field: Sendable {
  public var name: String
  public var schema: Schema
  public var isRequired: Bool
  /// Put in where the member is absent; nil: it stays absent.
  public var fallback: JSONValue?
  public var note: String?
  /// A value as somebody would send it.
  public var example: String?

  /// A member that must be there.
  public static func required(_ name: String, _ schema: Schema, _ note: String? = nil) -> Field {
    Field(name: name, schema: schema, isRequired: true, fallback: nil, note: note)
  }

  /// A member that may be absent.
  public static func optional(
    _ name: String, _ schema: Schema, default fallback: JSONValue? = nil, _ note: String? = nil
  ) -> Field {
    Field(name: name, schema: schema, isRequired: false, fallback: fallback, note: note)
  }
}

extension Schema {
  /// The shape for a partial change (PATCH): every member optional, nothing put in for absent ones.
  public func partial(named name: String? = nil) -> Schema {
    switch self {
    case .named(let own, let schema):
      return .named(name ?? own + "Patch", schema.partial())
    case .object(let fields):
      return .object(
        fields.map { Field(name: $0.name, schema: $0.schema, isRequired: false, fallback: nil, note: $0.note) })
    case .strictObject(let fields):
      guard case .object(let partial) = Schema.object(fields).partial() else { return self }
      return .strictObject(partial)
    default: return self
    }
  }

  /// The members of an object shape, through its name.
  public var fields: [Field] {
    switch self {
    case .named(_, let schema), .nullable(let schema): schema.fields
    case .object(let fields), .strictObject(let fields): fields
    default: []
    }
  }
}
