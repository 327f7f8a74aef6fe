import ControlProtocol
import Foundation
import Identity
import Rules
import Storage

/// Lists of what a rule set consists of.
extension ListOrder {
  static let rules = ListOrder("position", key: .integer("position"), fields: [.integer("position"), .text("name")])
  /// Sets and chains: as they stand in the rule set.
  static let parts = ListOrder("position", key: .integer("position"), fields: [.text("name")])
  static let ownSets = ListOrder("name", key: .text("name"), fields: [.text("name")])
  /// By their numbers.
  static let elements = ListOrder("element", key: .text("element"), fields: [])
}

extension Call {
  /// The rule set of the path, for a list of its parts: the newest revision, or the one that the first page of a walk was
  /// from. What is moved meanwhile is told once all the same.
  func walked(_ services: Services) async throws -> (content: RuleSet, revision: UInt64) {
    let name = try parameter("name")
    let newest = try await services.store.ruleSet(named: name)
    guard let position else { return (newest.content, newest.revision) }
    guard let number = position.first?.integer.map({ UInt64(clamping: $0) }) else { throw ListOrder.badPosition }
    if number == newest.revision { return (newest.content, number) }
    return (try await services.store.ruleSetRevision(named: name, number: number).content, number)
  }

  /// The sets of the path's rule set that the caller may read, where he may not read all of it; nil: he may.
  func pageOfOwnSets(_ services: Services) async throws -> Reply? {
    let permissions = try caller().permissions
    guard !permissions.grants(.rulesRead) else { return nil }
    let stored = try await services.store.ruleSet(named: try parameter("name"))
    guard !permissions.grants(.rulesRead, on: [.resource(ResourceRef(.ruleSet, stored.id))]) else { return nil }
    let own = stored.content.sets.filter { set in
      permissions.grants(.rulesRead, on: [.resource(ResourceRef(set: set.name, ofRuleSet: stored.id))])
    }
    return try page(of: own.map(\.summary), by: .ownSets).at(revision: stored.revision)
  }

  /// A page of the parts of that revision.
  ///
  /// - Parameter name: Of the part at an index.
  func page(
    of count: Int, at revision: UInt64, by order: ListOrder, name: (Int) -> String, _ json: (Int) -> JSONValue
  ) throws -> Reply {
    var page = page
    page.after = position.map { Array($0.dropFirst()) }
    var paged = try order.page(of: 0..<count, isSorted: true, page) { index, field in
      field == "name" ? .string(name(index)) : .count(index)
    }
    paged.next = paged.next.map { [.count(revision)] + $0 }
    return Reply.page(paged, page, json).at(revision: revision)
  }
}

extension NamedSet {
  /// Where the elements behind the one of a cursor begin.
  func index(behind position: [JSONValue]) throws -> Int {
    guard position.count == 1, let element = try? position[0].string.map({ try SetElement(parsing: $0, for: kind) }) else {
      throw ListOrder.badPosition
    }
    return index(behind: element)
  }
}
