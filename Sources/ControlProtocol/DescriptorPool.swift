import Foundation
import SwiftProtobuf

/// Descriptors of proto files, by file and by symbol: what reflection answers from. Immutable.
public struct DescriptorPool: Sendable {
  private struct File {
    var serialized: Data
    var imports: [String]
  }
  private var files: [String: File] = [:]
  private var fileOfSymbol: [String: String] = [:]
  private var messages: Set<String> = []
  /// Full names of all services, in the order of the files.
  public private(set) var services: [String] = []

  /// The pool of this module's proto files.
  public static let standard: DescriptorPool = {
    do {
      return try DescriptorPool(descriptorSet: PackageResources.descriptors_pb)
    } catch {
      preconditionFailure("descriptors.pb is generated and embedded: \(error)")
    }
  }()

  /// From a serialized `google.protobuf.FileDescriptorSet` that includes what its files import.
  public init(descriptorSet: [UInt8]) throws {
    for file in try Google_Protobuf_FileDescriptorSet(serializedBytes: descriptorSet).file {
      files[file.name] = File(serialized: try file.serializedBytes(), imports: file.dependency)
      let prefix = file.package.isEmpty ? "" : file.package + "."
      for message in file.messageType { add(message, prefix: prefix, file: file.name) }
      for enumeration in file.enumType { add(enumeration, prefix: prefix, file: file.name) }
      for service in file.service {
        let name = prefix + service.name
        services.append(name)
        fileOfSymbol[name] = file.name
        for method in service.method { fileOfSymbol["\(name).\(method.name)"] = file.name }
      }
    }
  }

  private mutating func add(_ message: Google_Protobuf_DescriptorProto, prefix: String, file: String) {
    let name = prefix + message.name
    messages.insert(name)
    fileOfSymbol[name] = file
    for field in message.field { fileOfSymbol["\(name).\(field.name)"] = file }
    for oneof in message.oneofDecl { fileOfSymbol["\(name).\(oneof.name)"] = file }
    for nested in message.nestedType { add(nested, prefix: name + ".", file: file) }
    for enumeration in message.enumType { add(enumeration, prefix: name + ".", file: file) }
  }

  private mutating func add(_ enumeration: Google_Protobuf_EnumDescriptorProto, prefix: String, file: String) {
    fileOfSymbol[prefix + enumeration.name] = file
    // An enum's values are its siblings in name, as in C++.
    for value in enumeration.value { fileOfSymbol[prefix + value.name] = file }
  }

  func containsMessage(_ name: String) -> Bool { messages.contains(name) }

  /// The file and everything that it imports, serialized, the file first; nil for a file that isn't here.
  func files(from name: String) -> [Data]? {
    guard files[name] != nil else { return nil }
    var result: [Data] = []
    var seen: Set<String> = []
    var pending = [name]
    while let next = pending.popLast() {
      guard seen.insert(next).inserted, let file = files[next] else { continue }
      result.append(file.serialized)
      pending += file.imports
    }
    return result
  }

  /// The same for the file that declares a symbol.
  func files(declaring symbol: String) -> [Data]? { fileOfSymbol[symbol].flatMap { files(from: $0) } }
}
