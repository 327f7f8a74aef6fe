import Glibc
import LinuxSystem
import Rules
import XDPPrograms

extension Controller {
  func findInterface(_ name: String) throws(ControlError) -> NetworkInterface {
    if let fault = interfaceNameFault(name) {
      throw ControlError(.invalidArgument, "\"\(name.prefix(64))\" is no interface name: \(fault)")
    }
    do throws(SystemError) {
      return try NetworkInterface.named(name)
    } catch {
      guard error.code == ENODEV else { throw ControlError(error) }
      let names = ((try? NetworkInterface.all()) ?? []).map(\.name).filter { $0 != "lo" }
      throw ControlError(.notFound, "there is no interface \(name); there are: \(names.joined(separator: ", "))")
    }
  }

  /// The interface of that name, or else one that has another name now and on which a program goes on that an earlier daemon
  /// attached under this one.
  func findInterface(attachedAs name: String) throws(ControlError) -> NetworkInterface {
    do throws(ControlError) { return try findInterface(name) } catch {
      let pins = PinDirectory(bpffs: settings.bpffs, interface: name)
      guard error.kind == .notFound, let index = pins.linkInterfaceIndex,
        let renamed = try? NetworkInterface.indexed(index)
      else { throw error }
      return renamed
    }
  }

  func interfaceIndices() throws(ControlError) -> [String: UInt32] {
    do throws(SystemError) {
      return Dictionary(
        try NetworkInterface.all().map { ($0.name, $0.index) }, uniquingKeysWith: { first, _ in first })
    } catch {
      throw ControlError(error)
    }
  }

  /// Waits from now on for an interface of that name.
  func lose(_ attachment: Attachment, _ reason: String) {
    counted.attachmentsLost += 1
    logger.error(
      "the program is no longer on the interface", metadata: ["interface": "\(attachment.interface)", "reason": "\(reason)"])
    events.publish(.attachLost, interface: attachment.interface, reason)
    dormant[attachment.interface] = attachment.state
    attachments[attachment.interface] = nil
    release(attachment)
  }

  /// What the interface of an attachment became: gone elsewhere, renamed, with other queues.
  func follow(_ attachment: Attachment) {
    do throws(SystemError) {
      let current = try NetworkInterface.indexed(attachment.program.interfaceIndex)
      followName(of: attachment, current)
      followQueueCount(of: attachment, current)
    } catch {
      // A program stays on an interface that is moved, and what is made here under its name is another one.
      if error.code == ENODEV { lose(attachment, "the interface left this network namespace") }
    }
  }

  /// An interface that is renamed keeps its program, so that nothing comes through meanwhile, until another one has the name:
  /// that is the one which is to be filtered.
  private func followName(of attachment: Attachment, _ current: NetworkInterface) {
    if current.name == attachment.interface {
      attachment.otherName = nil
    } else if let other = try? NetworkInterface.named(attachment.interface), other.index != current.index {
      lose(attachment, "it was renamed to \(current.name), and another interface has its name: the program goes there")
    } else if attachment.otherName != current.name {
      attachment.otherName = current.name
      logger.warning(
        "the interface was renamed; its program stays", metadata: ["interface": "\(attachment.interface)", "name": "\(current.name)"])
    }
  }

  /// Redirects lead to interfaces by number: where one has come, gone or come again by its name, a new generation says so.
  func followTargets() {
    guard attachments.values.contains(where: \.live.hasTargets), let indices = try? interfaceIndices() else { return }
    for attachment in attachments.values where attachment.live.leadsElsewhere(indices) {
      do throws(ControlError) {
        let next = try attachment.prepare(attachment.ruleSet, indices, mayMissTargets: true)
        try publish([(attachment, next)])
        saveGenerationOrWarn()
        logger.notice("redirects follow their interfaces", metadata: ["interface": "\(attachment.interface)"])
        warnOfMissingTargets(attachment)
      } catch {
        logger.error(
          "redirects lead where they led before", metadata: ["interface": "\(attachment.interface)", "error": "\(error)"])
      }
    }
  }

  func warnOfMissingTargets(_ attachment: Attachment) {
    let missing = attachment.live.missingTargets
    if missing.isEmpty { return }
    logger.warning(
      "rules redirect to interfaces that are not there: their packets are dropped, and counted as redirect_failed",
      metadata: ["interface": "\(attachment.interface)", "missing": "\(missing.joined(separator: ", "))"])
  }

  func checkCapabilities() throws(ControlError) {
    guard let effective = try? Capabilities.effective() else { return }
    let missing = effective.missing(of: [.bpf, .netAdmin, .perfmon]).filter { _ in !effective.has(.sysAdmin) }
    guard missing.isEmpty else {
      throw ControlError(
        .failedPrecondition,
        "the daemon lacks \(missing.map(\.name).joined(separator: " and ")): run it as root, or grant them in its unit "
          + "(AmbientCapabilities=)")
    }
  }
}
