import Packets

/// A condition of a match in words, as JSON, gRPC and the text form have it.
public struct ConditionForm: Hashable, Sendable {
  /// Of ``Match/fieldNames``.
  public var field: String
  public var elements: [String]
  public var isNegated: Bool

  public init(field: String, elements: [String], isNegated: Bool = false) {
    self.field = field
    self.elements = elements
    self.isNegated = isNegated
  }
}

/// What is wrong with a condition in words.
public struct ConditionError: Error, Hashable, Sendable, CustomStringConvertible {
  public var field: String
  /// Of the element; nil: the condition as a whole.
  public var index: Int?
  public var reason: String
  /// The element's, in its parts.
  public var cause: ValueTextError?

  public var description: String { "\(field)\(index.map { "[\($0)]" } ?? ""): \(reason)" }
}

extension Match {
  /// Every field that a match can have a condition on, by its name in JSON, in the order that they are written in.
  public static let fieldNames: [String] = Field.all.map(\.name)

  /// A condition on each field that has one, in the order of ``fieldNames``.
  public var conditions: [ConditionForm] { Field.all.compactMap { $0.form(self) } }

  /// What is wrong with a text as an element of a field, which must be of ``fieldNames``; nil where nothing is.
  public static func fault(of element: String, in field: String) -> String? {
    var match = Match()
    do throws(ConditionError) {
      try match.set(ConditionForm(field: field, elements: [element]))
      return nil
    } catch {
      return error.reason
    }
  }

  /// Sets the condition on a field, which replaces what was there. Without elements: none.
  public mutating func set(_ form: ConditionForm) throws(ConditionError) {
    guard let field = Field.all.first(where: { $0.name == form.field }) else {
      throw ConditionError(
        field: ValueTextError.excerpt(form.field), index: nil,
        reason: "no such field; a match has \(Match.fieldNames.joined(separator: ", "))")
    }
    guard form.elements.count <= Limits.elementsPerFieldMax else {
      throw ConditionError(
        field: field.name, index: nil, reason: "has more than \(Limits.elementsPerFieldMax) elements; split the rule")
    }
    try field.set(&self, form)
  }
}

/// How one field's condition is written and read.
private struct Field: Sendable {
  let name: String
  let form: @Sendable (Match) -> ConditionForm?
  let set: @Sendable (inout Match, ConditionForm) throws(ConditionError) -> Void

  /// A field with a condition of its own in ``Match``.
  init<Element: Hashable & Sendable>(
    _ name: String, _ get: @escaping @Sendable (Match) -> Condition<Element>,
    _ put: @escaping @Sendable (inout Match, Condition<Element>) -> Void,
    _ text: @escaping @Sendable (Element) -> String,
    _ parse: @escaping @Sendable (String) throws(ValueTextError) -> Element
  ) {
    self.name = name
    form = { match in
      let condition = get(match)
      if condition.isEmpty { return nil }
      return ConditionForm(
        field: name, elements: condition.sets.map { "@\($0)" } + condition.map(text), isNegated: condition.isNegated)
    }
    set = { (match, form) throws(ConditionError) in
      var elements: [Element] = []
      var sets: [String] = []
      for (index, word) in form.elements.enumerated() {
        do throws(ValueTextError) {
          if word.utf8.first == 0x40, NamedSet.Kind(field: name) != nil {
            sets.append(try NamedSet.name(inReference: word))
          } else {
            elements.append(try parse(word))
          }
        } catch {
          throw ConditionError(field: name, index: index, reason: error.description, cause: error)
        }
      }
      put(&match, Condition(elements, sets: sets, isNegated: form.isNegated && !form.elements.isEmpty))
    }
  }

  private init(
    name: String, form: @escaping @Sendable (Match) -> ConditionForm?,
    set: @escaping @Sendable (inout Match, ConditionForm) throws(ConditionError) -> Void
  ) {
    self.name = name
    self.form = form
    self.set = set
  }

  private static func numbers(_ field: NumberField) -> Field {
    Field(field.rawValue, { $0[field] }, { $0[field] = $1 }, \.description) { (text) throws(ValueTextError) in
      try NumberRange(parsing: text, most: field.most)
    }
  }

  private static let optionWords = ["absent", "present"]

  private static let options = Field(
    name: "options",
    form: { match in
      match.hasOptions.map { ConditionForm(field: "options", elements: [optionWords[$0 ? 1 : 0]]) }
    },
    set: { (match, form) throws(ConditionError) in
      if form.elements.isEmpty {
        match.hasOptions = nil
        return
      }
      guard form.elements.count == 1, let index = optionWords.firstIndex(of: form.elements[0]) else {
        throw ConditionError(field: "options", index: 0, reason: "is one word: \(optionWords.joined(separator: " or "))")
      }
      match.hasOptions = (index == 1) != form.isNegated
    })

  static let all: [Field] =
    [
      Field("interfaces", { $0.interfaces }, { $0.interfaces = $1 }, \.self) { (name) throws(ValueTextError) in
        if let fault = interfaceNameFault(name) {
          throw ValueTextError(expected: "the name of an interface", text: name, reason: fault)
        }
        return name
      }, numbers(.queues),
      Field("source_macs", { $0.sourceMACs }, { $0.sourceMACs = $1 }, \.description, MACPattern.init(parsing:)),
      Field("destination_macs", { $0.destinationMACs }, { $0.destinationMACs = $1 }, \.description, MACPattern.init(parsing:)),
      numbers(.etherTypes), numbers(.vlanIDs), numbers(.vlanPriorities), numbers(.innerVLANIDs),
      numbers(.innerVLANPriorities),
      Field("sources", { $0.sources }, { $0.sources = $1 }, \.description, IPPrefix.init(parsing:)),
      Field("destinations", { $0.destinations }, { $0.destinations = $1 }, \.description, IPPrefix.init(parsing:)),
      Field("protocols", { $0.protocols }, { $0.protocols = $1 }, \.description, IPProtocol.init(parsing:)),
      Field("source_ports", { $0.sourcePorts }, { $0.sourcePorts = $1 }, \.description, PortRange.init(parsing:)),
      Field("destination_ports", { $0.destinationPorts }, { $0.destinationPorts = $1 }, \.description, PortRange.init(parsing:)),
      Field("tcp_flags", { $0.tcpFlags }, { $0.tcpFlags = $1 }, \.description, TCPFlagTest.init(parsing:)), numbers(.icmpTypes),
      numbers(.icmpCodes), numbers(.dscp), numbers(.ecn), numbers(.hopLimits), numbers(.flowLabels), numbers(.lengths),
      Field("fragments", { $0.fragments }, { $0.fragments = $1 }, \.rawValue) { (text) throws(ValueTextError) in
        guard let test = FragmentTest(rawValue: text) else {
          throw ValueTextError(expected: "a part of a datagram", text: text, reason: "these are not, first, later, any")
        }
        return test
      }, options,
    ]
}
